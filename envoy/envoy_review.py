"""What the owner of a node sees of an experiment before it runs here, and the command that answers.

In this folder: `bash review.sh` lists what waits, `bash review.sh show NAME`, `approve NAME DIGEST`,
`reject NAME`.
Director and envoy each have this module under a name of their own, because neither room imports the other.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import re
import shutil
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from envoy_archive import NAME_PATTERN, ArchiveLimits, Contents, UnsoundArchive, read_archive
from envoy_pickles import is_pickle, pickled_words

DESKS = Path(__file__).resolve().parent / "approval"
APPROVED, REJECTED = "approved", "rejected"
# Comparing lines takes time that grows with the square of their number.
MOST_LINES, MOST_LINES_IN_ALL, MOST_BYTES = 1_000, 5_000, 200_000
# An approval names what it is for: under the same name another archive may wait by now.
APPROVED_DIGEST = re.compile(r"[0-9a-f]{16,64}")
# What was let in with any limits can be shown.
_NO_LIMITS = ArchiveLimits(2**20, 2**20, 2**20, 2**20)


class ReviewError(ValueError):
    """The command cannot do what was asked; the message says what it can."""


@dataclass(frozen=True)
class Submission:
    """An experiment that somebody wants to run here."""

    name: str
    author: str
    digest: str


class Desk:
    """What waits for the owner's answer at one node, and what was answered, as files.

    Args:
        folder: holds `waiting/`, `answers/` and the archive that was approved last; made when needed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def last_approved(self) -> Path:
        """The archive that was approved last, if there is one."""
        return self.folder / "last_approved.zip"

    def archive(self, name: str) -> Path:
        """Return where the archive of a waiting experiment lies."""
        return self._file("waiting", name, "zip")

    def waiting(self) -> list[Submission]:
        """Return what waits, oldest first."""
        files = sorted((self.folder / "waiting").glob("*.json"), key=lambda file: file.stat().st_mtime)
        return [Submission(**json.loads(file.read_text(encoding="utf-8"))) for file in files]

    def put(self, submission: Submission, archive: bytes) -> None:
        """Store an experiment; what was answered about another of its name does not count for it."""
        _make_private(self.archive(submission.name).parent)
        self.archive(submission.name).write_bytes(archive)
        _publish(self._file("waiting", submission.name), asdict(submission))

    def take_away(self, name: str) -> None:
        """Let an experiment wait no longer; an approval stays, a rejection counts once."""
        self._file("waiting", name).unlink(missing_ok=True)
        self.archive(name).unlink(missing_ok=True)
        if self._answer(name).get("answer") == REJECTED:
            self._file("answers", name).unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove what waited when the node stopped; it arrives again."""
        shutil.rmtree(self.folder / "waiting", ignore_errors=True)

    def decide(self, submission: Submission, answer: str, reason: str = "") -> None:
        """Write the owner's answer down; it holds for this author, name and digest alone.

        Raises:
            ReviewError: what lies there under that name is not what is approved.
        """
        if answer == APPROVED:
            content = self.archive(submission.name).read_bytes()
            require_digest(submission, read_archive(content, _NO_LIMITS))
            partial = self.last_approved.with_suffix(".partial")
            partial.write_bytes(content)
            os.replace(partial, self.last_approved)
        entry = {**asdict(submission), "answer": answer, "reason": reason, "at": time.time()}
        _publish(self._file("answers", submission.name), entry)

    def answer(self, submission: Submission) -> tuple[str, str]:
        """Return the owner's answer to an experiment, and the reason; empty as long as there is none."""
        entry = self._answer(submission.name)
        if any(entry.get(key) != value for key, value in asdict(submission).items()):
            return "", ""
        return entry["answer"], entry["reason"]

    def _answer(self, name: str) -> dict[str, str]:
        file = self._file("answers", name)
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}

    def _file(self, kind: str, name: str, suffix: str = "json") -> Path:
        if not NAME_PATTERN.fullmatch(name):
            raise ReviewError(
                f"experiment name {name!r}: legal are a letter, then up to 62 letters, digits, '-' or '_'"
            )
        return self.folder / kind / f"{name}.{suffix}"


def require_digest(submission: Submission, contents: Contents) -> None:
    """Make sure that an archive is the one that was submitted.

    Raises:
        ReviewError: it has another digest.
    """
    if contents.digest != submission.digest:
        raise ReviewError(
            f"the archive of {submission.name} has digest {contents.digest}, not {submission.digest}: "
            "another one waits under that name by now; look at it anew: bash review.sh"
        )


def review(submission: Submission, archive: Path, last_approved: Path) -> Iterator[str]:
    """Yield what there is to know about an experiment, line by line: author, digest, files, what is new.

    Nothing of the archive reaches a terminal as it is: control characters are shown as escapes.

    Raises:
        ReviewError: another archive lies there by now.
    """
    contents = read_archive(archive.read_bytes(), _NO_LIMITS)
    require_digest(submission, contents)
    yield f"Experiment {submission.name} of {printable(submission.author)}, digest {submission.digest}"
    yield f"{len(contents.sizes)} files, {sum(contents.sizes.values()):,} bytes:"
    yield from (f"  {size:>12,}  {name}" for name, size in contents.sizes.items())
    yield f"All of it lies in {archive.absolute()}; to read it, unzip it elsewhere, and import nothing."
    if not last_approved.is_file():
        yield "Nothing was approved here before that it could be compared with."
        yield "NOT SHOWN: the texts of all files; read them in the archive."
        with zipfile.ZipFile(archive) as new:
            for name in contents.digests:
                yield from _pickled(new, name)
        return
    approved = read_archive(last_approved.read_bytes(), _NO_LIMITS)
    yield f"Compared with what was approved last, digest {approved.digest}:"
    with zipfile.ZipFile(last_approved) as old, zipfile.ZipFile(archive) as new:
        yield from _differences(old, approved, new, contents)


def _differences(
    old: zipfile.ZipFile, approved: Contents, new: zipfile.ZipFile, contents: Contents
) -> Iterator[str]:
    changed = [
        name
        for name in sorted(approved.digests | contents.digests)
        if approved.digests.get(name) != contents.digests.get(name)
    ]
    if not changed:
        yield "  no difference"
    lines_left = MOST_LINES_IN_ALL
    for name in changed:
        before, after = _lines(old, approved, name), _lines(new, contents, name)
        if before is None or after is None or len(before) + len(after) > lines_left:
            ways = [found.digests.get(name, "none") for found in (approved, contents)]
            why = (
                f"no text, or over {MOST_LINES:,} lines or {MOST_BYTES:,} bytes"
                if before is None or after is None
                else f"over {MOST_LINES_IN_ALL:,} lines with those above"
            )
            yield f"NOT SHOWN: {name}: digest {ways[0]} before, {ways[1]} now ({why})"
            if name in contents.digests:
                yield from _pickled(new, name)
            continue
        lines_left -= len(before) + len(after)
        lines = difflib.unified_diff(before, after, f"approved/{name}", f"now/{name}", lineterm="")
        yield from map(printable, lines)


def _pickled(archive: zipfile.ZipFile, name: str) -> Iterator[str]:
    """Yield what a pickle imports and says; nothing of another file."""
    content = archive.read(name)
    if is_pickle(name, content):
        yield f"  {name} is a pickle; what runs is byte code, of which only names and strings are shown:"
        yield from (f"    {printable(word)}" for word in pickled_words(content))


def _lines(archive: zipfile.ZipFile, contents: Contents, name: str) -> list[str] | None:
    """Return the lines of a text; none of a file that is missing, None for bytes and for what is too long."""
    if name not in contents.digests:
        return []
    if contents.sizes[name] > MOST_BYTES:
        return None
    try:
        text = archive.read(name).decode()
    except UnicodeDecodeError:
        return None
    lines = text.split("\n")
    return None if len(lines) > MOST_LINES or "\0" in text else lines


def approval_command(submission: Submission) -> str:
    """Return what the owner enters to approve an experiment."""
    return f"bash review.sh approve {submission.name} {submission.digest}"


def printable(text: str) -> str:
    """Show what a terminal would obey, such as colours and changes of direction, as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _make_private(folder: Path) -> None:
    """Make a folder that nobody else enters; `mkdir` alone gives the folders above it the usual rights."""
    for each in (*reversed(folder.parents), folder):
        each.mkdir(mode=0o700, exist_ok=True)


def _publish(path: Path, content: object) -> None:
    _make_private(path.parent)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(content), encoding="utf-8")
    os.replace(partial, path)


def _found(name: str, digest: str) -> list[tuple[Desk, Submission]]:
    waiting = [(Desk(folder), each) for folder in sorted(DESKS.glob("*/")) for each in Desk(folder).waiting()]
    found = [(desk, each) for desk, each in waiting if each.name == name and each.digest.startswith(digest)]
    if not found:
        known = ", ".join(f"{each.name} ({each.digest[:12]})" for _, each in waiting) or "none"
        wanted = f"{name} with a digest {digest}…" if digest else name
        raise ReviewError(f"no experiment {wanted} waits here; waiting: {known}")
    return found


def main() -> int:
    """List, show, approve or reject what waits in this folder; returns the exit code."""
    # Whatever the terminal cannot show, such as the name of a folder, is shown as escapes.
    if sys.stdout:  # not closed, as by >&-
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    parser = argparse.ArgumentParser(prog="review.sh", description="What waits for approval here.")
    parser.add_argument("action", nargs="?", default="list", choices=["list", "show", "approve", "reject"])
    parser.add_argument("name", nargs="?", help="of the experiment")
    parser.add_argument(
        "digest", nargs="?", default="", help="its digest, or 16 digits or more of its beginning"
    )
    parser.add_argument("--reason", default="", help="of a rejection, for the experiment's author")
    arguments = parser.parse_args()
    if arguments.action == "list":
        for folder in sorted(DESKS.glob("*/")):
            for each in Desk(folder).waiting():
                print(f"{each.name} of {printable(each.author)} at {folder.name}, digest {each.digest}")
        return 0
    if arguments.name is None:
        parser.error(f"{arguments.action} wants the name of an experiment")
    try:
        if arguments.action == "approve" and not APPROVED_DIGEST.fullmatch(arguments.digest):
            raise ReviewError(
                f"approve {arguments.name} wants the digest that `show` printed, all of it or the first 16 "
                f"digits or more, not {arguments.digest!r}"
            )
        for desk, each in _found(arguments.name, arguments.digest):
            if arguments.action == "show":
                print(*review(each, desk.archive(each.name), desk.last_approved), sep="\n")
                print(f"To let it run: {approval_command(each)}")
                continue
            answer = APPROVED if arguments.action == "approve" else REJECTED
            desk.decide(each, answer, arguments.reason)
            print(f"{answer} at {desk.folder.name}: {each.name}, digest {each.digest}")
    except (ReviewError, UnsoundArchive, OSError) as error:
        print(f"review: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
