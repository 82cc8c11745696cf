"""The two regimes without a federation: all clips in one place, and each envoy alone with its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.compare.plan import CENTRALISED, Job
from benchmarks.compare.results import class_accuracies, row
from benchmarks.compare.share import share_of
from demo.envoy_config import ShardValue
from superb_ks.metrics import CLIPS
from superb_ks.model.packing import pack, unpack
from superb_ks.model.spec import ModelSpec
from superb_ks.settings import Settings
from superb_ks.training.data import ClipDataset
from superb_ks.training.evaluation import evaluate
from superb_ks.training.local import local_trainer
from superb_node.names import envoy_name
from superb_shard_descriptor import SuperbShardDescriptor

Scores = dict[str, Any]


@dataclass(frozen=True)
class Alone:
    """What became of one model that was trained without others.

    Attributes:
        curve: as in `benchmarks.compare.results.row`.
        best_round: the one with the highest validation accuracy, the earliest of equals.
        test: scores of that round's model on all test clips.
        own_test: its scores on the test clips of the same shard.
        train_clips: clips that it was trained on.
    """

    curve: list[dict[str, float]]
    best_round: int
    test: Scores
    own_test: Scores
    train_clips: int


def run(job: Job, shard_params: Mapping[str, ShardValue]) -> dict[str, Any]:
    """Do a run of the centralised or the local regime in this process; returns its row.

    Args:
        job: what to run.
        shard_params: of the shard descriptor, but for the rank.
    """
    settings = job.settings()
    everything = SuperbShardDescriptor("1, 1", **shard_params)  # type: ignore[arg-type]
    shards = [everything]
    if job.regime != CENTRALISED:
        ranks = range(1, job.envoys + 1)
        shards = [SuperbShardDescriptor(f"{rank}, {job.envoys}", **shard_params) for rank in ranks]  # type: ignore[arg-type]
    spec = ModelSpec.of(settings, everything.labels).sealed()
    results = [train_alone(spec, settings, shard, everything, job.share) for shard in shards]
    return _row(job, settings, everything.labels, results)


def train_alone(
    spec: ModelSpec,
    settings: Settings,
    shard: SuperbShardDescriptor,
    everything: SuperbShardDescriptor,
    share: float,
) -> Alone:
    """Train on a share of a shard's clips, as envoys do; validate each round's model and test the best.

    Every regime is judged by everybody's validation and test clips. That is kind to an envoy alone, which
    would have to choose its best round by its own few.
    """
    extractor = spec.feature_extractor()
    own = {split: ClipDataset(shard.get_dataset(split), extractor) for split in ("train", "test")}
    own["train"] = share_of(own["train"], share, settings.seed)
    common = {split: ClipDataset(everything.get_dataset(split), extractor) for split in ("val", "test")}
    model = spec.build()
    best, weights = 0, pack(model)
    curve: list[dict[str, float]] = []
    for number in range(settings.rounds + 1):
        if number:
            local_trainer(model, own["train"], settings, "cpu", number - 1).train()
        validation = float(evaluate(model, common["val"], "cpu")["accuracy"])
        curve.append({"round": number, "validation": validation, "bytes": 0})
        if validation > curve[best]["validation"]:
            best, weights = number, pack(model)
    unpack(weights, model)
    test = evaluate(model, common["test"], "cpu")
    own_test = test if shard is everything else evaluate(model, own["test"], "cpu")
    return Alone(curve, best, test, own_test, len(own["train"]))


def _row(job: Job, settings: Settings, labels: tuple[str, ...], results: list[Alone]) -> dict[str, Any]:
    """Return the row of one or several models: means over envoys are weighted by training clips."""
    clips = np.array([result.train_clips for result in results], float)
    accuracies = np.array([result.test["accuracy"] for result in results])
    alone = job.regime != CENTRALISED
    return row(
        job,
        curve=[
            _mean_point([result.curve[n] for result in results], clips) for n in range(settings.rounds + 1)
        ],
        best_round=None if alone else results[0].best_round,
        validation_accuracy=_mean(
            [result.curve[result.best_round]["validation"] for result in results], clips
        ),
        test_accuracy=_mean(accuracies, clips),
        test_clips=results[0].test[CLIPS],
        classes=class_accuracies(np.sum([result.test["confusion"] for result in results], axis=0), labels),
        clips_seen=int(clips.sum()) * settings.rounds * settings.complete_recipe.epochs_per_round,
        envoy_scores=_envoy_scores(results) if alone else {},
    )


def _mean_point(points: list[dict[str, float]], clips: NDArray[np.float64]) -> dict[str, float]:
    """Join the points of one round."""
    validation = _mean([point["validation"] for point in points], clips)
    return {"round": points[0]["round"], "validation": validation, "bytes": 0}


def _mean(values: Sequence[float] | NDArray[Any], clips: NDArray[np.float64]) -> float:
    return float(np.average(np.asarray(values), weights=clips))


def _envoy_scores(results: list[Alone]) -> dict[str, dict[str, float]]:
    """Return each envoy's clips, and its model's accuracy on its own and on all test clips."""
    return {
        envoy_name(rank): {
            "train_clips": result.train_clips,
            "test_clips": result.own_test[CLIPS],
            "local": result.own_test["accuracy"],
            "local_on_all": result.test["accuracy"],
        }
        for rank, result in enumerate(results, start=1)
    }
