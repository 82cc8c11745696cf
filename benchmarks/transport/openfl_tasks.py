"""What the job ships to OpenFL as shipped, as pickles: its tasks, and a data loader without data."""

from __future__ import annotations

from typing import Any

from openfl.interface.interactive_api.experiment import DataInterface, TaskInterface
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


class NoData(DataInterface):
    """Every client counts the same and has nothing to read."""

    @property
    def shard_descriptor(self) -> Any:
        """The envoy's shard descriptor, which is not asked for anything."""
        return None

    @shard_descriptor.setter
    def shard_descriptor(self, shard_descriptor: Any) -> None:
        pass

    def get_train_loader(self, **_: Any) -> list[Any]:
        """Return no clips."""
        return []

    def get_valid_loader(self, **_: Any) -> list[Any]:
        """Return no clips."""
        return []

    def get_train_data_size(self) -> int:
        """Return the weight in the average."""
        return 1

    def get_valid_data_size(self) -> int:
        """Return the weight in pooled metrics."""
        return 1
