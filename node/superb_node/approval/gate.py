"""The gate of a node: its owner decides which experiments run here.

The tasks of an experiment are its author's code. Until the gate is open for it, its text is read as data
only; docs/approval.md tells the whole.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from superb_ks.experiment import Experiment, digest
from superb_node.approval.review import approval_command, review
from superb_node.approval.settings import DIGEST, MANUAL, MEANINGS, OPEN, GateSettings, read_digests
from superb_node.approval.store import APPROVED, REJECTED, ApprovalStore, Submission
from superb_node.errors import ConfigError
from superb_node.loopback import LOCAL_HOSTS

logger = logging.getLogger("gate")

POLL_SECONDS = 0.2
"""How often the owner's answer is looked for."""
MAX_LOGGED_LINES = 200
"""Of a review; the command shows all of it."""


class Declined(Exception):
    """The owner does not let an experiment run here, or gave no answer in time; the message says which."""


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
        self.store = ApprovalStore(folder)
        self.store.clear()

    def announce(self, host: str) -> None:
        """Say in one line what the setting means; a warning, if it is open to other hosts than this one."""
        approval = self.settings.approval
        level = logging.WARNING if approval == OPEN and host not in LOCAL_HOSTS else logging.INFO
        meaning = MEANINGS[approval].format(approved_digests=self.settings.approved_digests)
        logger.log(level, "approval: %s: %s", approval, meaning)

    def inspect(self, name: str, author: str, text: bytes) -> Submission:
        """Look a text through, whatever the setting; nothing of it is run.

        Raises:
            UnsoundExperiment: it is no experiment.
            Declined: it was written for another package `superb_ks` than this node's.
        """
        if fault := Experiment.read(text).fault_of_package():
            raise Declined(f"declined by the node of {self.owner}: {fault}")
        return Submission(name, author, digest(text))

    def is_approved(self, submission: Submission) -> bool:
        """Return whether an experiment may run now; if not, it waits for the owner's answer.

        Raises:
            Declined: it may not.
        """
        if self.settings.approval == MANUAL:
            return self.store.decision(submission)[0] == APPROVED
        if self.settings.approval == DIGEST:
            try:
                listed = submission.digest in read_digests(self.settings.approved_digests)
            except ConfigError as error:
                raise Declined(f"declined by {self.owner}: {error}") from error
            if not listed:
                raise Declined(f"digest {submission.digest} is not on the list of {self.owner}")
        return True

    @contextmanager
    def pending(self, submission: Submission, text: bytes) -> Iterator[Callable[[], bool]]:
        """Keep an experiment while it waits for the owner's answer.

        Yields:
            What returns whether the owner has approved it by now, and raises `Declined` once it is rejected
            or has waited too long.
        """
        give_up_at = time.monotonic() + self.settings.approval_seconds
        self.store.add(submission, text)
        try:
            yield lambda: self._has_been_approved(submission, give_up_at)
        finally:
            self.store.remove(submission.name)

    def show(self, submission: Submission) -> None:
        """Show an experiment that waits to the owner, in the log; may take some seconds."""
        text = self.store.text_file(submission.name).read_bytes()
        lines = list(review(submission, text, self.store.last_approved))
        if len(lines) > MAX_LOGGED_LINES:
            more = len(lines) - MAX_LOGGED_LINES
            lines[MAX_LOGGED_LINES:] = [
                f"NOT SHOWN: {more:,} more lines: bash review.sh show {submission.name}"
            ]
        logger.info("%s", "\n".join(lines))
        logger.info(
            "%s waits for approval within %d s: %s, or: bash review.sh reject %s",
            *(submission.name, self.settings.approval_seconds, approval_command(submission), submission.name),
        )

    def _has_been_approved(self, submission: Submission, give_up_at: float) -> bool:
        answer, reason = self.store.decision(submission)
        if answer == REJECTED:
            raise Declined(f"rejected by {self.owner}" + (f": {reason}" if reason else ""))
        if not answer and time.monotonic() > give_up_at:
            raise Declined(f"not approved by {self.owner} within {self.settings.approval_seconds} s")
        if answer:
            logger.info("%s was approved", submission.name)
        return bool(answer)
