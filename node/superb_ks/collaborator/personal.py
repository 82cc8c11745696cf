"""One more round on an envoy's own clips, at the end of an experiment: kept only where its validation gains.

The tasks are the experiment's own, so an owner has no further code to read.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from superb_ks.collaborator.tasks import Tasks
from superb_ks.experiment import Experiment
from superb_ks.metrics import ACCURACY, CLIPS, FEDERATED, KEPT, ON_TEST, PERSONAL
from superb_ks.model.packing import pack, unpack
from superb_ks.model.spec import ModelSpec
from superb_ks.model.tuning import merged
from superb_ks.types import Vector

logger = logging.getLogger(__name__)


def personalise(
    tasks: Tasks, model: nn.Module, shard: Any, device: str, *, round_number: int
) -> tuple[dict[str, Any], Vector | None]:
    """Train the federated model for one more round on this envoy's clips, and choose between the two.

    The personal model is kept if it answers more of the envoy's validation clips correctly. In a tie the
    federated one stays: it has heard the voices of all, and where both give equally many right answers the
    loss only says which is more certain. The test clips have no part in the choice.

    Args:
        tasks: the experiment's: `train`, `validate` and `test`.
        model: holds the federated weights; its weights are undefined afterwards.
        shard: what the tasks get as their data.
        device: on which they compute.
        round_number: what `train` is told: one beyond the last training round, from 0.

    Returns:
        The metrics for the records, and the packed weights, float32 `[size]`, of a personal model that is
        kept. `clips` counts validation clips, `federated` and `personal` are both models' accuracies on them,
        and the names with `test_` say the same of the test clips, if there are any. `kept` is 1 or 0.
    """
    missing = [split for split in ("train", "val") if _is_empty(shard, split)]
    if missing:
        logger.info("The federated model stays: there are no clips here in the split %s", missing[0])
        return {CLIPS: 0, KEPT: 0}, None
    federated = pack(model)
    run = partial(tasks.run, model=model, shard=shard, device=device, round_number=round_number)

    def measured(weights: Vector, name: str) -> dict[str, Any]:
        unpack(weights, model)
        scores = run("validate")
        found = {CLIPS: scores[CLIPS], name: float(scores[ACCURACY])}
        if not _is_empty(shard, "test"):
            unpack(weights, model)  # a task may change them
            scores = run("test")
            if ACCURACY in scores:
                found |= {f"{ON_TEST}{CLIPS}": scores[CLIPS], f"{ON_TEST}{name}": float(scores[ACCURACY])}
        return found

    metrics = measured(federated, FEDERATED)
    unpack(federated, model)
    run("train")
    own = pack(model)
    metrics |= measured(own, PERSONAL)
    kept = metrics[PERSONAL] > metrics[FEDERATED]
    logger.info(
        "Accuracy on the validation clips here: %.4f with the federated model, %.4f after one more round; "
        "the %s model is kept",
        *(metrics[FEDERATED], metrics[PERSONAL], PERSONAL if kept else FEDERATED),
    )
    return {**metrics, KEPT: int(kept)}, own if kept else None


def _is_empty(shard: Any, split: str) -> bool:
    """Say whether a shard of the usual kind has no clips in a split."""
    return isinstance(shard, Mapping) and split in shard and len(shard[split]) == 0


def save_pretrained(experiment: Experiment, weights: Vector, folder: Path) -> None:
    """Write a model of an experiment as an ordinary one of transformers, with its feature extractor.

    Args:
        experiment: names the model.
        weights: packed, float32 `[size]`.
        folder: made if need be.

    Raises:
        ValueError: the experiment has a model of its own, or the weights are of another model.
        ModelMismatch, ModelUnavailable: the model cannot be built here.
    """
    if not isinstance(experiment.model, Mapping):
        raise ValueError("the experiment has a model of its own, which only its tasks can build")
    spec = ModelSpec.from_dict(experiment.model)
    model = spec.build()
    unpack(weights, model)
    merged(model).save_pretrained(folder)
    spec.feature_extractor().save_pretrained(folder)
