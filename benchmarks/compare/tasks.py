"""What the comparison ships to the envoys, as source.

The tasks are the tutorial's, or those of an attack.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from openfl.interface.interactive_api.experiment import TaskInterface

from benchmarks.compare.share import share_of
from superb_ks.collaborator.shard_data import open_shard
from superb_ks.model.packing import pack, unpack
from superb_ks.model.spec import ModelSpec
from superb_ks.settings import Settings
from superb_ks.training.local import local_trainer, round_seed
from superb_notebook.tasks import tutorial_tasks

GARBAGE_SCALE = 1.0
"""Standard deviation of the weights that a faulty envoy sends; the tiny model's own are around 0.05."""


def ranked_shard(spec: ModelSpec, share: float, seed: int) -> Callable[[Any], Mapping[str, Any]]:
    """Return what opens an envoy's shard as `{"train": …, "val": …, "test": …, "rank": from 1}`.

    Args:
        spec: of the model that the clips are prepared for.
        share: how much of the training clips to train on.
        seed: of their draw.
    """

    def open_ranked_shard(shard_descriptor: Any) -> Mapping[str, Any]:
        shard = open_shard(shard_descriptor, spec.feature_extractor())
        return {**shard, "train": share_of(shard["train"], share, seed), "rank": shard_descriptor.rank}

    return open_ranked_shard


def comparison_tasks(settings: Settings, garbage_from: int | None = None) -> TaskInterface:
    """Return the tutorial's tasks, of which `train` may send noise.

    Args:
        settings: the experiment's.
        garbage_from: envoys of this rank and above send noise; None: nobody does.
    """
    tasks = tutorial_tasks(settings)
    if garbage_from is None:
        return tasks

    @tasks.register_fl_task(
        model="model", data_loader="shard", device="device", optimizer="optimizer", round_num="round_num"
    )
    def train(model: Any, shard: Any, device: str, optimizer: Any, round_num: int) -> dict[str, Any]:
        clips = len(shard["train"])
        if shard["rank"] >= garbage_from:
            put_noise(model, round_seed(settings.seed, round_num))
            return {"clips": clips}
        result = local_trainer(model, shard["train"], settings, device, round_num).train()
        return {"loss": result.training_loss, "clips": clips}

    return tasks


def put_noise(model: Any, seed: int) -> None:
    """Replace a model's trained weights by Gaussian noise: a faulty envoy, or one that means harm."""
    draw = np.random.default_rng(seed)
    unpack(draw.normal(0.0, GARBAGE_SCALE, pack(model).size).astype(np.float32), model)
