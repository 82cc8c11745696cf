"""Metrics of one task in one round: their schema, pooling over collaborators, and the records of viewers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superb_ks.schedule import PERSONALISE, TRAIN

Metrics = dict[str, NDArray[np.float64]]
"""What a task measured: scalars (shape `()`) and arrays (such as a confusion matrix of counts)."""

CLIPS = "clips"
"""The number of clips that a task's scalars were measured on, hence their weight."""

ACCURACY = "accuracy"
"""What `validate` must return; the best model is the one with the highest, pooled."""

FEDERATED, PERSONAL, KEPT, ON_TEST = "federated", "personal", "kept", "test_"
"""What `personalise` reports beside `clips`: both models' accuracies on the validation clips, and 1 if the
personal one is kept, else 0. What begins with `ON_TEST` says the same of the test clips."""

_SHARES = {PERSONALISE: (FEDERATED, PERSONAL, KEPT, f"{ON_TEST}{FEDERATED}", f"{ON_TEST}{PERSONAL}")}
"""Metrics of single tasks that are from 0 to 1, as accuracies are everywhere."""

_COUNTED = {TRAIN: {CLIPS: "train"}, PERSONALISE: {CLIPS: "val", f"{ON_TEST}{CLIPS}": "test"}}
"""Numbers of clips that are believed up to what a shard card counts in a split."""

_CLIPS_OF = {"train": "clips", "val": "validation clips", "test": "test clips"}

NOT_POOLED = ("seconds", "bytes_up")
"""Scalars that belong to one collaborator and have no pooled value."""

MAX_METRICS, MAX_LETTERS, MAX_VALUE = 256, 60, 1e12
"""What the schema lets a task return: metrics, letters of a name, and how far from 0 a number may be."""

MAX_POOLED = 1000 * MAX_VALUE
"""How far from 0 the sum over a federation may be."""

MAX_RECORDS = 12_000
"""Records that the metrics of one collaborator may make in one round. Each is kept in memory, written to the
disk and sent to every viewer; a confusion matrix of a hundred classes makes 10,000 at most."""


def admit(task_name: str, metrics: Metrics, room: int) -> tuple[Metrics, str]:
    """Keep those metrics of a task that are legal and make no more than `room` records together.

    Numbers go before arrays, so that no large array costs the accuracy.

    Returns:
        The metrics that are kept; and which others there are and why, in one printable line, empty if none.
    """
    kept: Metrics = {}
    faults = []
    for name, value in islice(sorted(metrics.items(), key=lambda item: item[1].ndim), MAX_METRICS):
        records = count_records({name: value})
        if fault := _fault_of(task_name, name, value):
            faults.append(fault)
        elif records > room:
            faults.append(f"{name} makes {records:,} records of the {MAX_RECORDS:,} that a round may have")
        else:
            kept[name] = value
            room -= records
    if len(metrics) > MAX_METRICS:
        faults.append(f"there are {len(metrics):,} metrics; legal: {MAX_METRICS}")
    more = f"; and {len(faults) - 1} more" if faults[1:] else ""
    return kept, f"{faults[0]}{more}" if faults else ""


def count_records(metrics: Metrics) -> int:
    """Return how many records metrics make (see `as_records`)."""
    return sum(int(np.count_nonzero(value)) if value.ndim else 1 for value in metrics.values())


def cap(task_name: str, metrics: Metrics, counts: Mapping[str, int]) -> list[str]:
    """Lower the clips that a task claims to what a shard card counts, in place.

    Args:
        task_name: of the task.
        metrics: that are admitted.
        counts: clips of each split on the card; one that is missing has no limit.

    Returns:
        What was claimed beyond that, in words.
    """
    claims = []
    for name, split in _COUNTED.get(task_name, {}).items():
        limit = counts.get(split)
        if name in metrics and limit is not None and metrics[name] > limit:
            claimed = f"{metrics[name]:,.0f} {_CLIPS_OF[split]}"
            claims.append(f"claims {claimed}, its shard card counts {limit:,}")
            metrics[name] = np.asarray(float(limit))
    return claims


def _fault_of(task_name: str, name: str, value: NDArray[np.float64]) -> str:
    """Return how a metric breaks the schema; empty if it keeps to it."""
    if not 1 <= len(name) <= MAX_LETTERS or not (name.isascii() and name.isprintable()):
        return f"metric {ascii(name[:MAX_LETTERS])}; legal names: 1 to {MAX_LETTERS} letters of ASCII"
    shown = f"{name} is {value:g}" if value.ndim == 0 else f"{name} is an array of {value.ndim} dimensions"
    if value.ndim > 2:
        return f"{shown}; legal: up to 2"
    is_share = name == ACCURACY or name in _SHARES.get(task_name, ())
    if is_share and not (value.ndim == 0 and 0 <= value <= 1):
        return f"{shown}; legal: a number from 0 to 1"
    is_count = task_name == PERSONALISE and name in _COUNTED[PERSONALISE]
    if is_count and not (value.ndim == 0 and 0 <= value <= MAX_VALUE):
        return f"{shown}; legal: a number from 0 to {MAX_VALUE:g}"
    if not (np.abs(value) <= MAX_VALUE).all():  # a NaN is not
        return f"{shown}; legal: finite numbers up to {MAX_VALUE:g}"
    return ""


def pooled(reports: Mapping[str, Metrics]) -> Metrics:
    """Combine what each collaborator measured into what all measured together.

    Scalars are averaged with `clips` as weights: an accuracy becomes the accuracy over everybody's clips.
    `clips` itself and arrays are summed. What somebody did not report, or not in a legal way, or in another
    shape than most, is pooled over the others, and `clips` then counts those whose accuracy is pooled. What
    fewer than half report is left out.
    """
    everyone = [reports[name] for name in sorted(reports)]
    scored = [metrics for metrics in everyone if ACCURACY in metrics]
    result: Metrics = {}
    for name in dict.fromkeys(name for metrics in everyone for name in metrics):
        having = _of_one_shape(name, (scored or everyone) if name == CLIPS else everyone)
        if name in NOT_POOLED or (2 * len(having) < len(everyone) and name != CLIPS):
            continue
        values = np.stack([metrics[name] for metrics in having])
        weights = np.asarray([float(metrics[CLIPS]) for metrics in having])
        if name == CLIPS or values.ndim > 1:
            result[name] = values.sum(axis=0)
        elif weights.sum() > 0:
            result[name] = np.asarray(np.average(values, weights=weights))
    return result


def _of_one_shape(name: str, reports: Sequence[Metrics]) -> list[Metrics]:
    """Return the reports that have a metric in the shape that most of them have, of equals the simplest."""
    shapes = Counter(metrics[name].shape for metrics in reports if name in metrics)
    most = max(shapes, key=lambda shape: (shapes[shape], -len(shape)), default=None)
    return [metrics for metrics in reports if name in metrics and metrics[name].shape == most]


def as_records(round_number: int, origin: str, task_name: str, metrics: Metrics) -> list[dict[str, Any]]:
    """Turn metrics into OpenFL's messages: one a scalar, one a non-zero cell of an array, `name[i,j]`."""
    cells: list[tuple[str, float]] = []
    for name, value in metrics.items():
        if value.ndim == 0:
            cells.append((name, float(value)))
        else:
            cells.extend(
                (f"{name}[{','.join(map(str, index))}]", float(value[tuple(index)]))
                for index in np.argwhere(value)
            )
    return [
        {
            "round": round_number,
            "metric_origin": origin,
            "task_name": task_name,
            "metric_name": name,
            "metric_value": value,
        }
        for name, value in cells
    ]
