"""Trains a trial and scores it on clips of other speakers, none of which is a test clip.

Clips of silence are the exception: they are cut from the same recordings in every fold.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from torch.utils.data import ConcatDataset
from transformers import Wav2Vec2FeatureExtractor

from benchmarks.compare.plan import ALPHA
from benchmarks.validation.trial import ENVOYS, Trial
from superb_ks.aggregator.checkpoint import ExperimentState
from superb_ks.aggregator.strategies.registry import make_aggregation
from superb_ks.model.packing import pack, unpack
from superb_ks.model.spec import ModelSpec
from superb_ks.training.data import ClipDataset
from superb_ks.training.evaluation import evaluate
from superb_ks.training.local import local_trainer
from superb_node.names import envoy_name
from superb_shard_descriptor import SuperbShardDescriptor
from tests.support.aggregator import new_state_folder

FOLDS = 5

Shard = Callable[[int], SuperbShardDescriptor]


def score(trial: Trial, seed: int, fold: int, data: tuple[str, str]) -> tuple[float, int]:
    """Train and score.

    Args:
        trial: what is tried.
        seed: of weights, order and dropout.
        fold: of the speakers, from 0, whose clips are held out. With four envoys the only fold is 0, and
            the validation clips are held out.
        data: folders of the training and the test archive.

    Returns:
        the accuracy and the number of clips that it is of.
    """
    settings = replace(trial.settings, seed=seed)
    trial = replace(trial, settings=settings)
    train_dir, test_dir = data
    params = {"source": "folder", "data_dir": train_dir, "test_dir": test_dir}
    if trial.partition is None:
        return _in_one_place(
            trial, fold, SuperbShardDescriptor.of_all_ranks(FOLDS, partition="speaker", **params)
        )
    skew = {"alpha": ALPHA} if trial.partition == "dirichlet" else {}
    return _federated(
        trial, SuperbShardDescriptor.of_all_ranks(ENVOYS, partition=trial.partition, **skew, **params)
    )


def _in_one_place(trial: Trial, fold: int, shard: Shard) -> tuple[float, int]:
    """Train on all folds but one, and score on that one: no speaker is in two of them."""
    shards = [shard(rank) for rank in range(1, FOLDS + 1)]
    spec = ModelSpec.of(trial.settings, shards[0].labels).sealed()
    extractor = spec.feature_extractor()
    held_out = _clips([shards.pop(fold)], ("train", "val"), extractor)
    clips, model = _clips(shards, ("train", "val"), extractor), spec.build()
    for number in range(trial.settings.rounds):
        local_trainer(model, clips, trial.settings, "cpu", number).train()
    return float(evaluate(model, held_out, "cpu")["accuracy"]), len(held_out)


def _clips(
    shards: Sequence[SuperbShardDescriptor], splits: Sequence[str], extractor: Wav2Vec2FeatureExtractor
) -> ClipDataset:
    """Join splits of several shards."""
    parts = [shard.get_dataset(split) for shard in shards for split in splits]
    return ClipDataset(ConcatDataset(parts), extractor)


def _federated(trial: Trial, shard: Shard) -> tuple[float, int]:
    """Train on each shard in turn and combine, as the director does; score on all validation clips."""
    shards = [shard(rank) for rank in range(1, ENVOYS + 1)]
    names = [envoy_name(rank) for rank in range(1, ENVOYS + 1)]
    spec = ModelSpec.of(trial.settings, shards[0].labels).sealed()
    extractor, model = spec.feature_extractor(), spec.build()
    own = [ClipDataset(one.get_dataset("train"), extractor) for one in shards]
    held_out = _clips(shards, ("val",), extractor)
    weights = pack(model)
    with tempfile.TemporaryDirectory() as folder:
        state = ExperimentState(new_state_folder(Path(folder) / "state", weights.size))
        state.publish(0, weights)
        aggregation = make_aggregation(trial.settings.strategy, state)
        for number in range(trial.settings.rounds):
            updates = aggregation.collect(names, weights.size, lambda _: None)
            for name, clips in zip(names, own, strict=True):
                unpack(state.last.read(), model)
                local_trainer(model, clips, trial.settings, "cpu", number).train()
                updates.add(name, len(clips), pack(model))
            state.publish(number + 1, aggregation.next_model(updates.result(), number + 1))
        unpack(state.last.read(), model)
        state.close()
    return float(evaluate(model, held_out, "cpu")["accuracy"]), len(held_out)
