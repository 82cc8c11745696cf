"""What the job ships to OpenFL as shipped: its tasks."""

from __future__ import annotations

from typing import Any

from openfl.interface.interactive_api.experiment import TaskInterface
from torch import nn

from benchmarks.transport.job import EventLog, evaluate, train_step


def tasks(log: EventLog) -> TaskInterface:
    """Return `train` and `validate`, which note when they start."""
    registry = TaskInterface()

    @registry.register_fl_task(
        model="model", data_loader="loader", device="device", optimizer="optimizer", round_num="round_num"
    )
    def train(model: nn.Module, loader: Any, device: str, optimizer: Any, round_num: int) -> dict[str, float]:
        log.note("train", round=round_num)
        train_step(model)
        return {"train_loss": 0.0}

    @registry.register_fl_task(model="model", data_loader="loader", device="device", round_num="round_num")
    def validate(model: nn.Module, loader: Any, device: str, round_num: int) -> dict[str, float]:
        value = evaluate(model)
        log.note("evaluate", round=round_num, value=value)
        return {"eval_accuracy": value}

    return registry
