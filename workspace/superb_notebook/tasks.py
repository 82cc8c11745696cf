"""The tutorial's three tasks, for the notebooks that follow it, and one call that submits an experiment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from openfl.interface.interactive_api.experiment import TaskInterface
from openfl.interface.interactive_api.federation import Federation
from transformers import PreTrainedModel

from superb_ks.model.spec import ModelSpec
from superb_ks.settings import Settings
from superb_ks.training.data import ClipDataset
from superb_ks.training.evaluation import evaluate
from superb_ks.training.local import local_trainer
from superb_notebook.experiment import FederatedExperiment

Shard = Mapping[str, ClipDataset]


def submit(
    federation: Federation, settings: Settings, labels: Sequence[str], tasks: TaskInterface | None = None
) -> FederatedExperiment:
    """Submit an experiment.

    Args:
        federation: from `connect`.
        settings: of this experiment.
        labels: class names, in the order of the model's outputs.
        tasks: train, validate and test; None: those of the tutorial.

    Raises:
        FederationError: too few envoys are online, or the director refuses.
    """
    spec = ModelSpec.of(settings, labels).sealed()
    experiment = FederatedExperiment(federation, settings.experiment_name)
    experiment.start(model=spec, tasks=tasks or tutorial_tasks(settings), settings=settings)
    return experiment


def tutorial_tasks(settings: Settings) -> TaskInterface:
    """Return `train`, `validate` and `test` as the tutorial's notebook defines them, for these settings."""
    tasks = TaskInterface()

    @tasks.register_fl_task(
        model="model", data_loader="shard", device="device", optimizer="optimizer", round_num="round_num"
    )
    def train(
        model: PreTrainedModel, shard: Shard, device: str, optimizer: None, round_num: int
    ) -> dict[str, Any]:
        result = local_trainer(model, shard["train"], settings, device, round_num).train()
        return {"loss": result.training_loss, "clips": len(shard["train"])}

    @tasks.register_fl_task(model="model", data_loader="shard", device="device")
    def validate(model: PreTrainedModel, shard: Shard, device: str) -> dict[str, Any]:
        scores = evaluate(model, shard["val"], device)
        return {name: scores[name] for name in ("accuracy", "loss", "clips")}

    @tasks.register_fl_task(model="model", data_loader="shard", device="device")
    def test(model: PreTrainedModel, shard: Shard, device: str) -> dict[str, Any]:
        return evaluate(model, shard["test"], device)

    return tasks
