"""What this project's engine ships for the job, as source: model, tasks, and a shard without data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from openfl.interface.interactive_api.experiment import TaskInterface
from torch import nn

from benchmarks.transport.job import EventLog, empty_model, evaluate, train_step


def model_of(size: str) -> Callable[[], nn.Module]:
    """Return what builds a Wav2Vec2 of a given size on a node, everything trained."""

    def build_model() -> nn.Module:
        return empty_model(size)

    return build_model


def no_shard(shard_descriptor: Any) -> None:
    """Open a shard that is not asked for anything."""


def tasks(log: EventLog) -> TaskInterface:
    """Return `train`, `validate` and `test`, which note when they start."""
    registry = TaskInterface()

    @registry.register_fl_task(
        model="model", data_loader="loader", device="device", optimizer="optimizer", round_num="round_num"
    )
    def train(model: nn.Module, loader: Any, device: str, optimizer: Any, round_num: int) -> dict[str, float]:
        log.note("train", round=round_num)
        train_step(model)
        return {"loss": 0.0, "clips": 1}

    @registry.register_fl_task(model="model", data_loader="loader", device="device", round_num="round_num")
    def validate(model: nn.Module, loader: Any, device: str, round_num: int) -> dict[str, float]:
        value = evaluate(model)
        log.note("evaluate", round=round_num, value=value)
        return {"accuracy": value, "clips": 1}

    @registry.register_fl_task(model="model", data_loader="loader", device="device", round_num="round_num")
    def test(model: nn.Module, loader: Any, device: str, round_num: int) -> dict[str, float]:
        value = evaluate(model)
        log.note("evaluate", round=round_num, value=value)
        return {"accuracy": value, "clips": 1}

    return registry
