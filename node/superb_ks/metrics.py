"""Metrics of one task in one round: pooling over collaborators, and the records that viewers get."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Metrics = dict[str, NDArray[np.float64]]
"""What a task measured: scalars (shape `()`) and arrays (such as a confusion matrix of counts)."""

CLIPS = "clips"
"""The number of clips that a task's scalars were measured on, hence their weight."""

ACCURACY = "accuracy"
"""What `validate` must return; the best model is the one with the highest, pooled."""

NOT_POOLED = ("seconds", "bytes_up")
"""Scalars that belong to one collaborator and have no pooled value."""


def pooled(reports: Mapping[str, Metrics]) -> Metrics:
    """Combine what each collaborator measured into what all measured together.

    Scalars are averaged with `clips` as weights: an accuracy becomes the accuracy over everybody's clips.
    `clips` itself and arrays are summed. A metric that somebody did not report, or reported in
    another shape, is left out.
    """
    everyone = [reports[name] for name in sorted(reports)]
    if not everyone:
        return {}
    weights = np.asarray([float(metrics[CLIPS]) for metrics in everyone])
    result: Metrics = {}
    for name in everyone[0]:
        if name in NOT_POOLED or not all(name in metrics for metrics in everyone):
            continue
        if len({metrics[name].shape for metrics in everyone}) > 1:
            continue
        values = np.stack([metrics[name] for metrics in everyone])
        if name == CLIPS or values.ndim > 1:
            result[name] = values.sum(axis=0)
        elif weights.sum() > 0:
            result[name] = np.asarray(np.average(values, weights=weights))
    return result


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
