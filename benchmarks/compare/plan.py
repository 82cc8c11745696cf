"""Which runs the comparison is made of: a regime on some data, one way to tune, one to average."""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from superb_ks.model.architecture import CHECKPOINT
from superb_ks.recipe import SCRATCH, TINY
from superb_ks.settings import STRATEGIES, Failures, Recipe, Settings, strategy_named, tuning_named

REAL, SYNTHETIC = "real", "synthetic"
CENTRALISED, LOCAL, FEDERATED = "centralised", "local", "federated"
POOLED = "pooled"
"""The partition of the centralised regime: all shards in one place."""

ALPHA = 0.3
"""Of the `dirichlet` partition; most of a word is then with one or two of four envoys."""

SHARES = (0.05, 0.1, 0.25, 0.5, 1.0)
"""Of the learning curve over few clips."""

ENOUGH = 0.25
"""A run on a smaller share of the clips makes at least as many steps as one on this share: with the usual
epochs, it would make too few to learn anything.
"""

FEDERATIONS = (("iid", 2), ("speaker", 4), ("dirichlet", 4))
"""Partitions, and into how many shards, of which every envoy's own scores are shown."""

COMPARED = tuple(name for name in STRATEGIES if name != "trimmed_mean")
"""Strategies that have rows. Of four updates the trimmed mean leaves two, whose mean is the median: every row
of the two was the same to the last bit.
"""

ROBUST_STRATEGIES = tuple(name for name in COMPARED if not STRATEGIES[name].averages)


@dataclass(frozen=True)
class Work:
    """How often every clip is trained on: `rounds` times `epochs`, the same in all regimes.

    Attributes:
        rounds: rounds of the federation; elsewhere sections of the learning-rate schedule, a validation
            after each and a fresh optimizer in each.
        epochs: in each of them; None leaves it to the model's recipe.
    """

    rounds: int
    epochs: int | None


WORK = {REAL: Work(4, 3), SYNTHETIC: Work(3, None)}
FREQUENT = Work(12, 1)
"""Of the federated regime on real speech: as many epochs, with an average after each. Envoys whose shards are
skewed stay closer to each other. A node that trains alone gains nothing from it: its optimizer would only
start afresh more often.
"""
HEAD_WORK = Work(4, None)
"""Of `head` on real speech: its recipe has many epochs a round, as each costs next to nothing."""


@dataclass(frozen=True)
class Job:
    """One run. Its fields are entries of its row in the results (see `benchmarks.compare.results`).

    Attributes:
        data: "real" or "synthetic".
        regime: "centralised", "local" (each envoy alone on its shard) or "federated".
        partition: how clips are shared out; "pooled" for the centralised regime.
        envoys: how many shards.
        tuning: name of what is trained, as in `TUNINGS`.
        strategy: name of how updates become a model, as in `STRATEGIES`; None where nothing is federated.
        model: as in `Settings.model`.
        garbage: how many of the envoys send noise instead of what they learned.
        share: how much of each shard's training clips is trained on, in (0, 1].
        seed: of initial weights, order of the clips, dropout and the draw of a share of the clips; the
            partition's is always 0.
        work: rounds and epochs.
    """

    data: str
    regime: str
    partition: str = POOLED
    envoys: int = 1
    tuning: str = "full"
    strategy: str | None = None
    model: str = "tiny"
    garbage: int = 0
    share: float = 1.0
    seed: int = 0
    work: Work = WORK[REAL]

    @property
    def identity(self) -> tuple[Any, ...]:
        """What tells this run from others, however much work it is."""
        return tuple(getattr(self, field.name) for field in fields(self) if field.name != "work")

    @property
    def federation(self) -> tuple[str, str, int]:
        """Data, partition and number of envoys: runs that agree on them can use the same processes."""
        return self.data, self.partition, self.envoys

    @property
    def checkpoint(self) -> str | None:
        """As `shipped_weights` returns it."""
        return shipped_weights(self.model)

    @property
    def recipe(self) -> str:
        """The first 12 digits of a digest of recipe, tuning and strategy, such as the learning rates."""
        settings = self.settings()
        recipe = {**asdict(settings.complete_recipe), "tuning": settings.tuning.to_dict()}
        if self.strategy is not None:
            recipe["strategy"] = settings.strategy.to_dict()
        return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def name(self) -> str:
        """The run in words, for `--only` and for the terminal."""
        parts = [self.data, self.regime]
        if self.regime != CENTRALISED:
            parts.append(f"{self.partition} {self.envoys}")
        parts += [self.model, self.tuning]
        if self.strategy is not None:
            parts.append(self.strategy)
        if self.garbage:
            parts.append("garbage")
        if self.share < 1:
            parts.append(f"{self.share:.0%} of the clips")
        return " ".join([*parts, f"seed {self.seed}"])

    @property
    def _is_personal(self) -> bool:
        """Whether the table of the envoys' own clips shows the run: a personal model costs a round more."""
        usual = (self.data, self.tuning, self.strategy, self.model) == (REAL, "full", "fedavg", TINY)
        shown = (self.partition, self.envoys) in FEDERATIONS
        return usual and shown and not self.garbage and self.share == 1

    def settings(self, **more: Any) -> Settings:
        """Return the experiment's settings; whatever else they take, such as ports, comes from `more`."""
        if self.strategy is not None:
            more["strategy"] = strategy_named(self.strategy)
        return Settings(
            model=self.model,
            tuning=tuning_named(self.tuning),
            recipe=Recipe(epochs_per_round=self.work.epochs),
            rounds=self.work.rounds,
            failures=Failures(min_envoys=self.envoys),
            seed=self.seed,
            personalise=self._is_personal,
            **more,
        )


def shipped_weights(model: str) -> str | None:
    """Return the first 12 digits of the shipped tiny model's SHA-256; None for other models."""
    return _digest(CHECKPOINT / "model.safetensors")[:12] if model == TINY else None


@functools.cache
def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def work_for(job: Job) -> Work:
    """Return how much a run trains."""
    if job.data == REAL and job.tuning == "head":
        return HEAD_WORK
    work = FREQUENT if job.data == REAL and job.regime == FEDERATED else WORK[job.data]
    # A whole number: all regimes make the same epochs, however they share them out among rounds.
    times = math.ceil(ENOUGH / job.share)
    return replace(work, epochs=work.epochs and times * work.epochs)


def plan(seeds: Sequence[int] | None = None, main_rows: bool = False) -> list[Job]:
    """Return all runs, those of one federation next to each other.

    Args:
        seeds: each row of the tables is run with all of them; None: with as many as `_rows` says, from 0.
        main_rows: leave out what the main rows can be read without (see `_is_main`).
    """
    jobs = [
        replace(job, work=work_for(job), seed=seed)
        for number, rows in _rows().items()
        for job in rows
        if _is_main(job) or not main_rows
        for seed in (range(number) if seeds is None else seeds)
    ]
    order = list(dict.fromkeys(job.federation for job in jobs))
    return sorted(jobs, key=lambda job: order.index(job.federation))


def _rows() -> dict[int, list[Job]]:
    """Return every row of the tables, with the first seed, by how many seeds it is run with."""
    centralised = Job(REAL, CENTRALISED)
    two = Job(REAL, FEDERATED, "iid", 2, strategy="fedavg")
    four = replace(two, envoys=4)
    speaker, skewed = replace(four, partition="speaker"), replace(four, partition="dirichlet")
    demo = replace(two, data=SYNTHETIC)
    regimes = (centralised, two, speaker)
    few = [
        replace(job, model=model, share=share)
        for job in (centralised, speaker)
        for model in (TINY, SCRATCH)
        for share in SHARES
    ]
    return {
        5: [
            *[replace(job, tuning=tuning) for tuning in ("full", "lora", "head") for job in regimes],
            *[replace(job, strategy=strategy) for strategy in COMPARED for job in (four, skewed)],
            demo,
        ],
        3: [
            # Of the tiny model on all clips there are five.
            *[job for job in few if job not in regimes],
        ],
        1: [
            *[replace(four, strategy=strategy, garbage=1) for strategy in ("fedavg", *ROBUST_STRATEGIES)],
            *[Job(REAL, LOCAL, job.partition, job.envoys) for job in (two, speaker, skewed)],
            replace(demo, model=SCRATCH),
        ],
    }


def _is_main(job: Job) -> bool:
    """Tell whether a row says what federating costs: no attack, no envoy alone, few strategies, all clips.

    On `dirichlet` these are FedAvg and the median, the simplest strategy and a robust one; on synthetic
    speech it is the demo. The ways to tune are compared in one place and with 2 envoys.
    """
    usual = job.strategy in (None, "fedavg") or (job.partition, job.strategy) == ("dirichlet", "median")
    usual = usual and (job.tuning == "full" or job.partition != "speaker")
    return usual and job.regime != LOCAL and not job.garbage and job.model == TINY and job.share == 1
