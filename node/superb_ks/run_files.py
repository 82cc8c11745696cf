"""The files that a run on Flower leaves on its server, for those who write and those who read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from superb_ks.types import Vector

RECORDS = "records.jsonl"
"""One record a line, as they come."""
CARDS = "cards.json"
"""The shard card of each client, by name."""
STATUS = "status"
"""How the run stands: `RUNNING`, `FINISHED` or `FAILED`; nothing is recorded after its end."""
RUNNING, FINISHED, FAILED = "in_progress", "finished", "failed"
INITIAL, LAST, BEST = "initial.npy", "last.npy", "best.npy"
"""Models, float32 `[size]`: what the author gave, that of the last round, and the best."""
FAILURE = "failure"
"""Task of the record of what ended a run, whose words are the record's metric."""
EXPERIMENT = "experiment.json"
"""File in the app's package: the experiment's text that a notebook submitted."""


class GrowingRecords:
    """The records of a run that goes on.

    Args:
        folder: the run's.
    """

    def __init__(self, folder: Path) -> None:
        self._file, self._read = folder / RECORDS, 0

    def new(self) -> list[dict[str, Any]]:
        """Return those that came since the last call, up to the last whole line; none if there is no file."""
        if not self._file.exists():
            return []
        with self._file.open("rb") as file:
            file.seek(self._read)
            came = file.read()
        whole = came[: came.rfind(b"\n") + 1]
        self._read += len(whole)
        return [json.loads(line) for line in whole.splitlines()]


def read_model(file: Path) -> Vector:
    """Read a model, float32 `[size]`.

    Raises:
        OSError: there is no such file.
        ValueError: it holds something else.
    """
    vector = np.load(file, allow_pickle=False)
    if vector.dtype != np.float32 or vector.ndim != 1:
        raise ValueError(f"{file} holds no vector of float32")
    return vector
