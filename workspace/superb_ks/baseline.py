"""A second experiment beside the notebook's: the same three tasks, other settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from openfl.interface.interactive_api.experiment import TaskInterface
from openfl.interface.interactive_api.federation import Federation
from transformers import PreTrainedModel

from superb_ks.data import ClipDataset, ShardData
from superb_ks.evaluation import evaluate
from superb_ks.experiment import FederatedExperiment
from superb_ks.model import ModelSpec
from superb_ks.openfl_model import SpecifiedModel
from superb_ks.settings import Settings
from superb_ks.tasks import local_trainer

Shard = Mapping[str, ClipDataset]


def baseline_settings(settings: Settings, model: str) -> Settings:
    """Return the settings of an experiment with another model, all of it trained, in as many rounds."""
    return replace(settings, model=model, tuning="full", experiment_name=None)


def submit(federation: Federation, settings: Settings, labels: Sequence[str]) -> FederatedExperiment:
    """Submit an experiment with the notebook's own three tasks.

    Args:
        federation: from `connect`.
        settings: of this experiment.
        labels: class names, in the order of the model's outputs.

    Raises:
        FederationError: too few envoys are online, or the director refuses.
    """
    spec = ModelSpec.of(settings, labels).sealed()
    name = settings.experiment_name or f"baseline-{datetime.now():%Y%m%d-%H%M%S}"
    experiment = FederatedExperiment(federation, name)
    experiment.start(
        model_provider=SpecifiedModel(spec),
        task_keeper=notebook_tasks(settings),
        data_loader=ShardData(spec),
        settings=settings,
    )
    return experiment


def notebook_tasks(settings: Settings) -> TaskInterface:
    """Return `train`, `validate` and `test` as the notebook defines them, for these settings."""
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
        return evaluate(model, shard["val"], device)

    @tasks.register_fl_task(model="model", data_loader="shard", device="device")
    def test(model: PreTrainedModel, shard: Shard, device: str) -> dict[str, Any]:
        return evaluate(model, shard["test"], device)

    return tasks
