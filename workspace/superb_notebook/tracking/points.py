"""What a record is to a backend: a number at a step, or a line of text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from superb_ks.metrics import MAX_POOLED
from superb_node.reports import QUEUED
from superb_notebook.history import EVENTS, event_in_words

_CELL = re.compile(r"(.+)\[([\d,]+)\]")
# Backends differ in what a name may hold; all of them take these.
_ODD = re.compile(r"[^A-Za-z0-9_-]")


class Point(NamedTuple):
    """A number: `train/loss/env_one`, or of an array's cell `test_best-confusion/3_11/aggregator`."""

    name: str
    step: int
    value: float


class Note(NamedTuple):
    """What happened in a round, in words: who dropped out and why, why training ended."""

    step: int
    text: str


def read(record: Mapping[str, Any]) -> Point | Note | None:
    """Return what to write of a record, whose round (from 0) is the step; None of one that tells no value."""
    step, task, origin = int(record["round"]), record["task_name"], record["metric_origin"]
    metric, value = record["metric_name"], float(record["metric_value"])
    if task in EVENTS:
        return Note(step, event_in_words(record))
    if task == QUEUED or not abs(value) <= MAX_POOLED:  # a NaN is not
        return None
    if cell := _CELL.fullmatch(metric):
        parts = (f"{task}-{cell[1]}", cell[2].replace(",", "_"), origin)
    else:
        parts = (task, metric, origin)
    return Point("/".join(_ODD.sub("_", part) for part in parts), step, value)
