"""The gate of a node: which experiments run here is for its owner to say.

The code of an experiment is its author's and runs with the rights of this process. Until the gate is open
for it, its archive is read as data alone; docs/approval.md tells the whole. Director and envoy each have this
module under a name of their own, because neither room imports the other.
"""

from __future__ import annotations

import logging
import os
import re
import select
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envoy_archive import ArchiveLimits, read_archive
from envoy_review import APPROVED, REJECTED, Desk, Submission, approval_command, review

logger = logging.getLogger("gate")

OPEN, MANUAL, DIGEST = "open", "manual", "digest"
# How often the owner's answer is looked for.
POLL_SECONDS = 0.2
# Lines of a review that go to the log; the command shows all of it.
LOGGED_LINES = 200
RANGES = {
    "approval_seconds": (1, 604_800),
    "archive_megabytes": (1, 1_024),
    "archive_unpacked_megabytes": (1, 8_192),
    "archive_files": (1, 100_000),
    "archive_ratio": (1, 1_000),
}
MEANINGS = {
    OPEN: "code of every experiment that arrives runs here unseen, with the rights of this process",
    MANUAL: "an experiment runs here after its owner has said so: bash review.sh",
    DIGEST: "an experiment runs here if its digest is in {approved_digests}",
}
LOOPBACK = ("localhost", "127.0.0.1", "::1")
SETTINGS = ("approval", "approved_digests", *RANGES)
_DIGEST = re.compile(r"[0-9a-f]{64}")


class IllegalSetting(ValueError):
    """A setting of the gate; the message names it and the legal values."""


class Declined(Exception):
    """The owner does not let an experiment run here, or gave no answer in time; the message says which."""


@dataclass(frozen=True)
class GateSettings:
    """What is let in; see the comments in the node's config.

    Attributes:
        approval: "open", "manual" or "digest".
        approval_seconds: how long an experiment waits for its approval.
        approved_digests: file with a digest a line, for "digest".
        limits: of archives, whatever the approval.
    """

    approval: str = OPEN
    approval_seconds: int = 3600
    approved_digests: Path = Path("approved_digests.txt")
    limits: ArchiveLimits = ArchiveLimits()

    @classmethod
    def take(cls, settings: dict[str, Any], config: Path) -> GateSettings:
        """Take the gate's settings out of those that stand in ``config``.

        Raises:
            IllegalSetting: a value is not legal, or the list of digests cannot be read.
        """
        approval = settings.pop("approval", OPEN)
        if approval not in MEANINGS:
            raise IllegalSetting(f"{config}: approval is {approval!r}; legal are {', '.join(MEANINGS)}")
        digests = config.absolute().parent / str(settings.pop("approved_digests", cls.approved_digests))
        numbers = {name: settings.pop(name) for name in RANGES if name in settings}
        for name, number in numbers.items():
            low, high = RANGES[name]
            if type(number) is not int or not low <= number <= high:
                raise IllegalSetting(f"{config}: {name} is {number!r}; legal are {low} to {high}")
        seconds = numbers.pop("approval_seconds", cls.approval_seconds)
        limits = ArchiveLimits(**{name.removeprefix("archive_"): n for name, n in numbers.items()})
        if approval == DIGEST:
            read_digests(digests)
        return cls(approval, seconds, digests, limits)


def read_digests(path: Path) -> set[str]:
    """Read a list of digests: one a line, blank lines and what follows a ``#`` do not count.

    Raises:
        IllegalSetting: there is no such file, or a line of it is no digest.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise IllegalSetting(f"approved_digests: {path} cannot be read ({error})") from error
    digests = {text for line in lines if (text := line.partition("#")[0].strip())}
    for digest in sorted(digests):
        if not _DIGEST.fullmatch(digest):
            raise IllegalSetting(
                f"approved_digests: {path} holds {digest!r}; legal are 64 digits 0 to 9, a to f"
            )
    return digests


class Gate:
    """Lets experiments in, or waits for the owner's answer.

    Args:
        settings: of this node.
        owner: in words, such as "the director's owner".
        folder: where waiting experiments and answers are kept.
    """

    def __init__(self, settings: GateSettings, owner: str, folder: Path) -> None:
        self.settings = settings
        self.owner = owner
        self.desk = Desk(folder)
        self.desk.clear()
        # Experiments that wait, and which of them the terminal was asked about last.
        self._waiting: list[Submission] = []
        self._asked: Submission | None = None
        self._asks = True

    def announce(self, host: str) -> None:
        """Say in one line what the setting means; a warning, if it is open to other hosts than this one."""
        approval = self.settings.approval
        level = logging.WARNING if approval == OPEN and host not in LOOPBACK else logging.INFO
        meaning = MEANINGS[approval].format(approved_digests=self.settings.approved_digests)
        logger.log(level, "approval: %s: %s", approval, meaning)

    def look_through(self, name: str, author: str, archive: bytes) -> Submission:
        """Measure an archive, whatever the setting; nothing of it is written or run.

        Raises:
            UnsoundArchive: it is damaged, exceeds a limit or holds what is not unpacked.
        """
        return Submission(name, author, read_archive(archive, self.settings.limits).digest)

    def lets_in(self, submission: Submission) -> bool:
        """Say whether an experiment may run now; if not, it waits for the owner's answer.

        Raises:
            Declined: it may not.
        """
        if self.settings.approval == MANUAL:
            return self.desk.answer(submission)[0] == APPROVED
        if self.settings.approval == DIGEST:
            try:
                listed = submission.digest in read_digests(self.settings.approved_digests)
            except IllegalSetting as error:
                raise Declined(f"declined by {self.owner}: {error}") from error
            if not listed:
                raise Declined(f"digest {submission.digest} is not on the list of {self.owner}")
        return True

    @contextmanager
    def waits(self, submission: Submission, archive: bytes) -> Iterator[Callable[[], bool]]:
        """Keep an experiment while it waits for the owner's answer.

        Yields:
            What says whether the owner has approved it by now, and raises `Declined` once it is rejected or
            has waited too long.
        """
        give_up_at = time.monotonic() + self.settings.approval_seconds
        self.desk.put(submission, archive)
        self._waiting.append(submission)
        self._asked = None
        try:
            yield lambda: self._is_approved(submission, give_up_at)
        finally:
            self._waiting.remove(submission)
            self.desk.take_away(submission.name)

    def show(self, submission: Submission) -> None:
        """Show an experiment that waits to the owner, in the log; may take some seconds."""
        lines = list(review(submission, self.desk.archive(submission.name), self.desk.last_approved))
        if len(lines) > LOGGED_LINES:
            more = len(lines) - LOGGED_LINES
            lines[LOGGED_LINES:] = [f"NOT SHOWN: {more:,} more lines: bash review.sh show {submission.name}"]
        logger.info("%s", "\n  ".join(lines))
        logger.info(
            "%s waits for approval within %d s: %s, or: bash review.sh reject %s",
            *(submission.name, self.settings.approval_seconds, approval_command(submission), submission.name),
        )
        # A question about another one that is open now stands above all this: it is asked again.
        self._asked = None

    def _is_approved(self, submission: Submission, give_up_at: float) -> bool:
        if self._waiting[0] is submission and (said := self._terminal(submission)):
            self.desk.decide(submission, said)
        answer, reason = self.desk.answer(submission)
        if answer == REJECTED:
            raise Declined(f"rejected by {self.owner}" + (f": {reason}" if reason else ""))
        if not answer and time.monotonic() > give_up_at:
            raise Declined(f"not approved by {self.owner} within {self.settings.approval_seconds} s")
        if answer:
            logger.info("%s was approved", submission.name)
        return bool(answer)

    def _terminal(self, submission: Submission) -> str | None:
        """Ask the owner, where there is one to read and to write on; returns at once."""
        if not self._asks or not _owner_is_at_the_terminal():
            return None
        terminal = sys.stdin.fileno()
        if self._asked != submission:
            self._asked = submission
            # What was typed before the question is no answer to it. Nobody else reads from this terminal, and
            # we do so past Python's buffer, so that nothing typed earlier is kept there either.
            termios.tcflush(terminal, termios.TCIFLUSH)
            print(f"Run {submission.name}, digest {submission.digest[:16]}...? [y/n] ", end="", flush=True)
            return None
        if not select.select([terminal], [], [], 0)[0]:
            return None
        line = os.read(terminal, 1024)
        if not line:  # the end of the input: there is nobody to ask
            self._asks = False
        answer = line.decode(errors="replace").strip().lower()
        if answer not in ("y", "yes", "n", "no"):
            self._asked = None  # it is asked again
            return None
        return APPROVED if answer.startswith("y") else REJECTED


def _owner_is_at_the_terminal() -> bool:
    """Say whether this process may read from a terminal; one in the background would be halted."""
    try:
        return sys.stdin.isatty() and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (AttributeError, OSError, ValueError):
        return False
