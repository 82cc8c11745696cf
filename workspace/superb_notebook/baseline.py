"""A second experiment beside the notebook's: the same three tasks, other settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from openfl.interface.interactive_api.experiment import TaskInterface
from openfl.interface.interactive_api.federation import Federation
from transformers import PreTrainedModel

from superb_ks.collaborator.openfl_adapter import SpecifiedModel
from superb_ks.collaborator.shard_data import ShardData
from superb_ks.model.spec import ModelSpec
from superb_ks.recipe import legal_tunings
from superb_ks.settings import FedAvg, Full, Head, Privacy, Recipe, Settings
from superb_ks.training.data import ClipDataset
from superb_ks.training.evaluation import evaluate
from superb_ks.training.local import local_trainer
from superb_notebook.experiment import FederatedExperiment

Shard = Mapping[str, ClipDataset]


def baseline_settings(settings: Settings, model: str) -> Settings:
    """Return the settings of an experiment with another model, all of it trained, in as many rounds.

    How it is trained is the other model's own recipe: a learning rate that was chosen for one model, or for
    one tuning, would make a poor figure of the other. The strategy and its parameters stay, and so does
    `epochs_per_round` where the main model's tuning is `Full` as well: both then hear each clip as often.
    """
    epochs = settings.recipe.epochs_per_round if isinstance(settings.tuning, Full) else None
    recipe = Recipe(epochs_per_round=epochs)
    return replace(settings, model=model, tuning=Full(), experiment_name=None, recipe=recipe)


def private_settings(settings: Settings, clip_norm: float, noise_multiplier: float) -> Settings:
    """Return the settings of an experiment with differential privacy, in as many rounds, by plain averaging.

    It tunes the head, where the model has one apart: noise falls on every weight that is trained, so the
    fewer there are, the less there is of it. How that is trained is the head's own recipe.
    """
    return replace(
        settings,
        tuning=Head() if Head.name in legal_tunings(settings.model) else settings.tuning,
        recipe=Recipe(),
        strategy=FedAvg(),
        privacy=Privacy(clip_norm=clip_norm, noise_multiplier=noise_multiplier),
        experiment_name=f"private-{datetime.now():%Y%m%d-%H%M%S}",
    )


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
