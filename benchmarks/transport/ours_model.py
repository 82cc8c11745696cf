"""What this project's engine ships for the job: model, tasks and a data loader without data."""

from __future__ import annotations

from typing import Any

from openfl.interface.interactive_api.experiment import TaskInterface
from superb_ks.collaborator.openfl_adapter import SpecifiedModel
from torch import nn

from benchmarks.transport.job import EventLog, Job, empty_model, evaluate, random_model, train_step
from superb_ks.model.spec import ModelSpec


class BenchmarkModel(SpecifiedModel):
    """A Wav2Vec2 of a given size, everything trained.

    Args:
        job: says which size, and the seed of the initial weights.
    """

    def __init__(self, job: Job) -> None:
        super().__init__(ModelSpec("scratch", ("yes", "no")))  # a specification of some kind is expected
        self.job = job

    def build_initial(self) -> nn.Module:
        """Build the model that the experiment starts from, in this process."""
        self.model = random_model(self.job.size, self.job.seed)
        return self.model

    def provide_model(self) -> nn.Module:
        """Return this process's model; on a node its weights come with the first round."""
        if self.model is None:
            self.model = empty_model(self.job.size)
        return self.model


def register_tasks(tasks: TaskInterface, log: EventLog) -> None:
    """Register `train`, `validate` and `test`, which note when they start."""

    @tasks.register_fl_task(
        model="model", data_loader="loader", device="device", optimizer="optimizer", round_num="round_num"
    )
    def train(model: nn.Module, loader: Any, device: str, optimizer: Any, round_num: int) -> dict[str, float]:
        log.note("train", round=round_num)
        train_step(model)
        return {"loss": 0.0, "clips": 1}

    @tasks.register_fl_task(model="model", data_loader="loader", device="device", round_num="round_num")
    def validate(model: nn.Module, loader: Any, device: str, round_num: int) -> dict[str, float]:
        value = evaluate(model)
        log.note("evaluate", round=round_num, value=value)
        return {"accuracy": value, "clips": 1}

    @tasks.register_fl_task(model="model", data_loader="loader", device="device", round_num="round_num")
    def test(model: nn.Module, loader: Any, device: str, round_num: int) -> dict[str, float]:
        value = evaluate(model)
        log.note("evaluate", round=round_num, value=value)
        return {"accuracy": value, "clips": 1}
