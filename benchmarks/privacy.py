"""What differential privacy costs in accuracy, by the noise and by the number of envoys.

python -m benchmarks.privacy            # measures, writes benchmarks/results/privacy.json, prints and draws
python -m benchmarks.privacy --report   # prints the table and draws docs/images/privacy.png of what is there

Rounds as the director keeps them, without its network: the head of the tiny model is trained on two shards of
the synthetic speech, and `strategies.private_average` averages. More envoys are simulated: n envoys are n / 2
copies of each shard, so that all that n changes is how far the noise is spread. Real further envoys would
bring clips of their own, and updates that agree less.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from dp_accounting import get_epsilon_gaussian

from benchmarks.compare.plots import publish
from benchmarks.compare.results import commit
from superb_ks.aggregator.strategies.private_average import PrivateAverage
from superb_ks.model.packing import pack, unpack
from superb_ks.model.spec import ModelSpec
from superb_ks.settings import Head, Privacy, Recipe, Settings
from superb_ks.training.data import ClipDataset
from superb_ks.training.evaluation import evaluate
from superb_ks.training.local import local_trainer
from superb_ks.types import Vector
from superb_node.work_folder import replace_file
from superb_notebook.privacy_plot import load_privacy, plot_privacy, privacy_table
from superb_shard_descriptor import SuperbShardDescriptor
from tests.support.machine import machine

ROOT = Path(__file__).resolve().parent.parent

RESULTS = ROOT / "benchmarks" / "results" / "privacy.json"
IMAGE = ROOT / "docs" / "images" / "privacy.png"
SHARDS = 2
ENVOYS = (2, 20, 200, 2000)
NOISE_MULTIPLIERS = (0.5, 1.0, 2.0, 4.0)
ROUNDS, EPOCHS, CLIP_NORM = 5, 10, 1.0


class Bench:
    """The two shards, the model and its start, from which every run begins."""

    def __init__(self) -> None:
        self.settings = Settings(tuning=Head(), rounds=ROUNDS, recipe=Recipe(epochs_per_round=EPOCHS))
        shards = [SuperbShardDescriptor(f"{rank}, {SHARDS}", source="synthetic") for rank in (1, 2)]
        spec = ModelSpec.of(self.settings, shards[0].labels).sealed()
        extractor = spec.feature_extractor()
        self._train = [ClipDataset(shard.get_dataset("train"), extractor) for shard in shards]
        everything = SuperbShardDescriptor("1, 1", source="synthetic")
        self._test = ClipDataset(everything.get_dataset("test"), extractor)
        self._model = spec.build()
        self.start = pack(self._model)
        self.test_clips = len(self._test)

    def accuracy(self, envoys: int, clip_norm: float, noise_multiplier: float) -> tuple[float, float]:
        """Train; returns the last model's test accuracy and the longest change that an envoy made."""
        weights, longest = self.start, 0.0
        for number in range(ROUNDS):
            changes = [self._change(weights, dataset, number) for dataset in self._train]
            longest = max(longest, *(float(np.linalg.norm(change)) for change in changes))
            weights = weights + _private_mean(changes, envoys, clip_norm, noise_multiplier)
        unpack(weights, self._model)
        return float(evaluate(self._model, self._test, "cpu")["accuracy"]), longest

    def _change(self, weights: Vector, dataset: ClipDataset, number: int) -> Vector:
        unpack(weights, self._model)
        local_trainer(self._model, dataset, self.settings, "cpu", number).train()
        return pack(self._model) - weights


def _private_mean(
    changes: Sequence[Vector], envoys: int, clip_norm: float, noise_multiplier: float
) -> Vector:
    """Average as many copies of the changes as there are envoys."""
    names = [f"{number:06}" for number in range(envoys)]
    average = PrivateAverage(
        names, changes[0].size, start=None, clip_norm=clip_norm, noise_multiplier=noise_multiplier
    )
    for number, name in enumerate(names):
        average.add(name, 1, changes[number % len(changes)].copy())
    return average.result()


def measure() -> dict[str, Any]:
    """Do all runs; returns what is kept."""
    bench, started = Bench(), time.monotonic()
    without, longest = bench.accuracy(SHARDS, 1e30, 0.0)
    clipped, _ = bench.accuracy(SHARDS, CLIP_NORM, 0.0)
    print(f"not private {without:.1%}, clipped alone {clipped:.1%}; longest change {longest:.2f}", flush=True)
    rows = []
    for noise_multiplier in NOISE_MULTIPLIERS:
        epsilon = get_epsilon_gaussian(noise_multiplier / math.sqrt(ROUNDS), Privacy.delta)
        for envoys in ENVOYS:
            accuracy, _ = bench.accuracy(envoys, CLIP_NORM, noise_multiplier)
            row = {"envoys": envoys, "noise_multiplier": noise_multiplier, "epsilon": epsilon}
            rows.append({**row, "test_accuracy": accuracy})
            print(rows[-1], flush=True)
    conditions = {
        "rounds": ROUNDS,
        "epochs_per_round": EPOCHS,
        "clip_norm": CLIP_NORM,
        "delta": Privacy.delta,
    }
    return {
        **conditions,
        "weights": bench.start.size,
        "test_clips": bench.test_clips,
        "longest_change": longest,
        "accuracy_not_private": without,
        "accuracy_clipped": clipped,
        "rows": rows,
        "seconds": time.monotonic() - started,
        "date": date.today().isoformat(),
        "commit": commit(),
        "machine": machine(),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure unless only the report is asked for; print the table and draw the plot."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--report", action="store_true", help="of what was measured earlier")
    options = parser.parse_args(argv)
    if not options.report:
        replace_file(RESULTS, (json.dumps(measure(), indent=1) + "\n").encode())
    measured = load_privacy(RESULTS)
    if measured is None:
        print("nothing was measured yet: python -m benchmarks.privacy does", file=sys.stderr)
        return 1
    print(privacy_table(measured))
    publish(plot_privacy(measured), IMAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
