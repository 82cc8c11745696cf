"""What a run leaves on the server: its records as they come, its models, and how it ended."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flwr.common.logger import log

from superb_ks.metrics import ACCURACY, CLIPS, Metrics, as_records
from superb_ks.run_files import CARDS, FAILURE, RECORDS, STATUS
from superb_ks.schedule import TEST_BEST, TEST_INITIAL, TRAIN, VALIDATE
from superb_ks.types import Vector
from superb_node.work_folder import replace_file


class Output:
    """A run's folder on the server.

    Args:
        folder: made if it is not there.

    Raises:
        FileExistsError: a run has its records there, or it is no folder.
        OSError: it cannot be written.

    Attributes:
        readers: get the records of each call as they come.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.readers: list[Callable[[list[dict[str, Any]]], None]] = []
        self._records = (folder / RECORDS).open("x", encoding="utf-8")

    def record(self, round_number: int, origin: str, task: str, metrics: Metrics) -> None:
        """Append what was measured, as the director does (docs/design.md)."""
        records = as_records(round_number, origin, task, metrics)
        self._records.write("".join(json.dumps(record) + "\n" for record in records))
        self._records.flush()
        for read in self.readers:
            read(records)

    def note(self, round_number: int, origin: str, task: str, text: str) -> None:
        """Append something that happened, and say it in Flower's log."""
        self.record(round_number, origin, task, {text: np.asarray(0.0)})
        if task != FAILURE:  # Flower logs what ends a run
            log(logging.WARNING, "%s, %s: %s", origin, task, text)

    def cards(self, cards: Mapping[str, Mapping[str, Any]]) -> None:
        """Write the shard card of each client, by its name."""
        replace_file(self.folder / CARDS, json.dumps(cards).encode())

    def model(self, name: str, vector: Vector) -> None:
        """Write a model, float32 `[size]`."""
        content = io.BytesIO()
        np.save(content, vector, allow_pickle=False)
        replace_file(self.folder / name, content.getvalue())

    def status(self, status: str) -> None:
        """Write how the run stands; nothing is recorded after its end."""
        replace_file(self.folder / STATUS, status.encode())


def in_words(round_number: int, task: str, metrics: Metrics) -> str:
    """Return what the clients measured together in a round, from 0, for the log; or nothing."""
    told = metrics.get("loss" if task == TRAIN else ACCURACY)
    if told is None or told.ndim or task not in (TRAIN, VALIDATE, TEST_INITIAL, TEST_BEST):
        return ""
    if task == TRAIN:
        return f"Round {round_number + 1}: training loss {told:.4f}"
    model = f"After round {round_number}" if round_number else "Before training"
    split = "validation" if task == VALIDATE else "test"
    score = f"{split} accuracy {told:.1%} on {metrics[CLIPS]:,.0f} clips"
    return f"{'The best model' if task == TEST_BEST else model}: {score}"
