"""Event files for TensorBoard, by tensorboardX."""

from __future__ import annotations

import json
import shutil

from tensorboardX import SummaryWriter

from superb_notebook.tracking.backends import About
from superb_notebook.tracking.points import Note, Point

_FLUSH_SECONDS = 1


class TensorBoardRun:
    """Writes into the run's `tensorboard/NAME`; what an earlier watching wrote there goes."""

    def __init__(self, about: About) -> None:
        folder = about.folder / "tensorboard" / about.name
        shutil.rmtree(folder, ignore_errors=True)
        # Its own `flush` does not wait for what its thread has not written yet.
        self._writer = SummaryWriter(str(folder), flush_secs=_FLUSH_SECONDS)
        if about.settings:
            self._writer.add_text("settings", f"```\n{json.dumps(about.settings, indent=1)}\n```")

    def write(self, points: list[Point], notes: list[Note]) -> None:
        """Write what has come in."""
        for name, step, value in points:
            self._writer.add_scalar(name, value, step)
        for step, text in notes:
            self._writer.add_text("events", text, step)

    def close(self, outcome: str) -> None:
        """Write how it ended."""
        self._writer.add_text("outcome", outcome)
        self._writer.close()
