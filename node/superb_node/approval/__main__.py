"""The owner's command, `bash review.sh`, in the folder in which director or envoy runs.

It lists what waits; `show NAME`, `approve NAME DIGEST` and `reject NAME` look at it and answer.
"""

from __future__ import annotations

import argparse
import os
import re
import sys

from superb_ks.experiment import UnsoundExperiment
from superb_node.approval.review import approval_command, review
from superb_node.approval.store import (
    APPROVAL_FOLDER,
    APPROVED,
    REJECTED,
    ApprovalStore,
    ReviewError,
    Submission,
)
from superb_node.command_line import set_up_output
from superb_node.text import printable

# An approval names what it is for: under the same name another experiment may wait by now.
_DIGEST = re.compile(r"[0-9a-f]{32,64}")


def main() -> int:
    """List, show, approve or reject what waits in this folder; returns the exit code."""
    set_up_output()
    parser = argparse.ArgumentParser(prog="review.sh", description="What waits for approval here.")
    parser.add_argument("action", nargs="?", default="list", choices=["list", "show", "approve", "reject"])
    parser.add_argument("name", nargs="?", help="of the experiment")
    parser.add_argument(
        "digest", nargs="?", default="", help="its digest, or 32 digits or more of its beginning"
    )
    parser.add_argument("--reason", default="", help="of a rejection, for the experiment's author")
    arguments = parser.parse_args()
    if arguments.action == "list":
        for store, submission in _pending():
            author = printable(submission.author)
            print(f"{submission.name} of {author} at {store.folder.name}, digest {submission.digest}")
        return 0
    if arguments.name is None:
        parser.error(f"{arguments.action} wants the name of an experiment")
    try:
        _answer(arguments)
    except (ReviewError, UnsoundExperiment, OSError) as error:
        print(f"review: {error}", file=sys.stderr)
        return 2
    return 0


def _answer(arguments: argparse.Namespace) -> None:
    """Show, approve or reject an experiment, at all nodes of this folder where it waits."""
    if arguments.action == "approve" and not _DIGEST.fullmatch(arguments.digest):
        raise ReviewError(
            f"approve {arguments.name} wants the digest that `show` printed, all of it or the first 32 "
            f"digits or more, not {arguments.digest!r}"
        )
    for store, submission in _found(arguments.name, arguments.digest):
        if arguments.action == "show":
            text = store.text_file(submission.name).read_bytes()
            colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
            print(*review(submission, text, store.last_approved, colours), sep="\n")
            print(f"To let it run: {approval_command(submission)}")
            continue
        answer = APPROVED if arguments.action == "approve" else REJECTED
        store.record_decision(submission, answer, arguments.reason)
        print(f"{answer} at {store.folder.name}: {submission.name}, digest {submission.digest}")


def _pending() -> list[tuple[ApprovalStore, Submission]]:
    stores = [ApprovalStore(folder) for folder in sorted(APPROVAL_FOLDER.glob("*/"))]
    return [(store, submission) for store in stores for submission in store.pending()]


def _found(name: str, digest: str) -> list[tuple[ApprovalStore, Submission]]:
    pending = _pending()
    found = [pair for pair in pending if pair[1].name == name and pair[1].digest.startswith(digest)]
    if not found:
        known = ", ".join(f"{each.name} ({each.digest[:12]})" for _, each in pending) or "none"
        wanted = f"{name} with a digest {digest}…" if digest else name
        raise ReviewError(f"no experiment {wanted} waits here; waiting: {known}")
    return found


if __name__ == "__main__":
    sys.exit(main())
