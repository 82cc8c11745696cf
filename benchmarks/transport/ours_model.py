"""What this project's engine ships for the job, as source: model, tasks, and a shard without data."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from openfl.interface.interactive_api.experiment import TaskInterface
from torch import nn

from benchmarks.transport.job import EventLog, empty_model, evaluate, train_step
from superb_ks.schedule import TRAIN

HOUR = 3600.0
"""Seconds. Records travel in single precision, which has half a millisecond within an hour."""


def model_of(size: str) -> Callable[[], nn.Module]:
    """Return what builds a Wav2Vec2 of a given size on a node, everything trained."""

    def build_model() -> nn.Module:
        return empty_model(size)

    return build_model


def no_shard(shard_descriptor: Any) -> None:
    """Open a shard that is not asked for anything."""


def tasks() -> TaskInterface:
    """Return `train`, `validate` and `test`, which report when they started, and what they found.

    An experiment can write to no file but its own, so it notes nothing in the log of the run.
    """
    registry = TaskInterface()

    @registry.register_fl_task(model="model", data_loader="loader", device="device", optimizer="optimizer")
    def train(model: nn.Module, loader: Any, device: str, optimizer: Any) -> dict[str, float]:
        started = time.time() % HOUR
        train_step(model)
        return {"loss": 0.0, "clips": 1, "started": started}

    @registry.register_fl_task(model="model", data_loader="loader", device="device")
    def validate(model: nn.Module, loader: Any, device: str) -> dict[str, float]:
        return {"accuracy": 0.5, "clips": 1, "started": time.time() % HOUR, "value": evaluate(model)}

    @registry.register_fl_task(model="model", data_loader="loader", device="device")
    def test(model: nn.Module, loader: Any, device: str) -> dict[str, float]:
        return {"accuracy": 0.5, "clips": 1, "started": time.time() % HOUR, "value": evaluate(model)}

    return registry


def note_tasks(log: EventLog, records: Sequence[Mapping[str, Any]]) -> None:
    """Note in the log of the run what the tasks have reported."""
    now = time.time()
    reports: dict[tuple[Any, ...], dict[str, float]] = {}
    for record in records:
        if record["metric_origin"] != "aggregator":
            key = (record["round"], record["metric_origin"], record["task_name"])
            reports.setdefault(key, {})[record["metric_name"]] = record["metric_value"]
    for (number, _, task_name), report in reports.items():
        if "started" not in report:
            continue
        at = now - (now - report["started"]) % HOUR
        if task_name == TRAIN:
            log.note("train", t=at, round=number)
        else:
            log.note("evaluate", t=at, round=number, value=report["value"])
