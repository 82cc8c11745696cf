"""What waits for the owner's answer on a node, and what was answered, as files."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from superb_ks.experiment import digest
from superb_node.names import illegal_name, is_legal_name
from superb_node.work_folder import replace_file

APPROVAL_FOLDER = Path("approval")
"""Holds a store for each node of a folder; below the one in which director or envoy runs."""
APPROVED, REJECTED = "approved", "rejected"


class ReviewError(ValueError):
    """The owner's command cannot do what was asked; the message says what it can."""


@dataclass(frozen=True)
class Submission:
    """An experiment that somebody wants to run here."""

    name: str
    author: str
    digest: str


class ApprovalStore:
    """The experiments that wait at one node, and its owner's answers.

    Args:
        folder: holds `waiting/`, `answers/` and the experiment that was approved last; made when needed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def last_approved(self) -> Path:
        """The text of the experiment that was approved last, if there is one."""
        return self.folder / "last_approved.experiment"

    def text_file(self, name: str) -> Path:
        """Return where the text of a waiting experiment lies."""
        return self._file("waiting", name, "experiment")

    def pending(self) -> list[Submission]:
        """Return what waits, oldest first."""
        files = sorted((self.folder / "waiting").glob("*.json"), key=lambda file: file.stat().st_mtime)
        return [Submission(**json.loads(file.read_text(encoding="utf-8"))) for file in files]

    def add(self, submission: Submission, text: bytes) -> None:
        """Store an experiment; what was answered about another of its name does not count for it."""
        _make_private(self.text_file(submission.name).parent)
        self.text_file(submission.name).write_bytes(text)
        _write(self._file("waiting", submission.name), asdict(submission))

    def remove(self, name: str) -> None:
        """Let an experiment wait no longer; an approval stays, a rejection counts once."""
        self._file("waiting", name).unlink(missing_ok=True)
        self.text_file(name).unlink(missing_ok=True)
        if self._answer(name).get("answer") == REJECTED:
            self._file("answers", name).unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove what waited when the node stopped; it arrives again."""
        shutil.rmtree(self.folder / "waiting", ignore_errors=True)

    def record_decision(self, submission: Submission, answer: str, reason: str = "") -> None:
        """Write the owner's answer down; it holds for this author, name and digest only.

        Raises:
            ReviewError: what lies there under that name is not what is approved.
        """
        if answer == APPROVED:
            text = self.text_file(submission.name).read_bytes()
            require_digest(submission, text)
            replace_file(self.last_approved, text)
        entry = {**asdict(submission), "answer": answer, "reason": reason, "at": time.time()}
        _write(self._file("answers", submission.name), entry)

    def decision(self, submission: Submission) -> tuple[str, str]:
        """Return the owner's answer to an experiment, and the reason; empty as long as there is none."""
        entry = self._answer(submission.name)
        if any(entry.get(key) != value for key, value in asdict(submission).items()):
            return "", ""
        return entry["answer"], entry["reason"]

    def _answer(self, name: str) -> dict[str, str]:
        file = self._file("answers", name)
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}

    def _file(self, kind: str, name: str, suffix: str = "json") -> Path:
        if not is_legal_name(name):
            raise ReviewError(illegal_name("experiment name", name))
        return self.folder / kind / f"{name}.{suffix}"


def require_digest(submission: Submission, text: bytes) -> None:
    """Make sure that a text is the one that was submitted.

    Raises:
        ReviewError: it has another digest.
    """
    if digest(text) != submission.digest:
        raise ReviewError(
            f"the text of {submission.name} has digest {digest(text)}, not {submission.digest}: "
            "another one waits under that name by now; look at it again: bash review.sh"
        )


def _make_private(folder: Path) -> None:
    """Make a folder that nobody else enters; `mkdir` gives the folders above it the usual rights."""
    for each in (*reversed(folder.parents), folder):
        each.mkdir(mode=0o700, exist_ok=True)


def _write(path: Path, content: object) -> None:
    _make_private(path.parent)
    replace_file(path, json.dumps(content).encode())
