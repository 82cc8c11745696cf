"""Which collaborator does what in which round.

Each round validates the incoming model first, so that round 0 measures the untouched one, and then trains.
One more round validates the last aggregate, and one scores the best model on the test split. An experiment
that personalises has one more, in which each collaborator trains the best model further for itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

TRAIN = "train"
VALIDATE = "validate"
TEST_INITIAL = "test_initial"
TEST_BEST = "test_best"
PERSONALISE = "personalise"

STOPPED_EARLY = "stopped_early"
"""No task: the record of the round, from 0, that turned out to be the last one of training."""

CLOSING_ROUNDS = 2
"""Rounds after the last training round: one validates the final aggregate, one tests the best model. With
`personalise` there is one more."""


@dataclass(frozen=True)
class ScheduledTask:
    """One task of a round.

    Attributes:
        name: under which its results are reported.
        function: which of the experiment's functions it calls.
    """

    name: str
    function: str


@dataclass(frozen=True)
class RoundSchedule:
    """The rounds of an experiment.

    Attributes:
        training_rounds: rounds in which collaborators train.
        fraction: share of the collaborators that train in each of them, in (0, 1]; the others only validate,
            so that models are compared on everybody's clips.
        seed: with the round's number, it decides who trains.
        personalise: there is a last round in which each collaborator trains the best model for itself.

    Raises:
        ValueError: no round, or another fraction.
    """

    training_rounds: int
    fraction: float = 1.0
    seed: int = 0
    personalise: bool = False

    def __post_init__(self) -> None:
        if self.training_rounds < 1:
            raise ValueError(f"training_rounds is {self.training_rounds}; it must be at least 1")
        if not 0 < self.fraction <= 1:
            raise ValueError(f"fraction is {self.fraction}; it must be in (0, 1]")

    @property
    def total_rounds(self) -> int:
        """All rounds, the closing ones included."""
        return self.training_rounds + CLOSING_ROUNDS + self.personalise

    def is_personal(self, round_number: int) -> bool:
        """Say whether each works for itself in a round: what the others are to get is made by then."""
        return self.personalise and round_number == self.training_rounds + CLOSING_ROUNDS

    def tasks(self, round_number: int) -> list[ScheduledTask]:
        """Return the tasks of a collaborator that trains in round `round_number` (from 0), in order."""
        if self.is_personal(round_number):
            return [ScheduledTask(PERSONALISE, "train")]
        if round_number == self.training_rounds + 1:
            return [ScheduledTask(TEST_BEST, "test")]
        tasks = [ScheduledTask(VALIDATE, "validate")]
        if round_number == 0:
            tasks.append(ScheduledTask(TEST_INITIAL, "test"))
        if round_number < self.training_rounds:
            tasks.append(ScheduledTask(TRAIN, "train"))
        return tasks

    def trainers(self, collaborators: Iterable[str], round_number: int) -> list[str]:
        """Return who trains in a round: `ceil(fraction * n)` of the `n` collaborators, sorted.

        The draw depends on the names, the seed and the round alone, so a resumed experiment repeats it.
        """
        names = sorted(collaborators)
        # The product may lie a rounding error above the whole number that is meant: 0.07 * 100 does.
        count = min(len(names), math.ceil(self.fraction * len(names) - 1e-9))
        if count == len(names):
            return names
        draw = np.random.default_rng(np.random.SeedSequence((self.seed, round_number)))
        return sorted(names[index] for index in draw.choice(len(names), count, replace=False))
