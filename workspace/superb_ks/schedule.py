"""Which collaborator does what in which round.

OpenFL's own assigner trains, then validates the incoming model, and stops: the last aggregate is never
scored. This schedule validates first (so that round 0 measures the untouched model), adds one round that
validates the last aggregate and one that scores the best model on the test split.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from openfl.component.assigner.tasks import Task, TrainTask, ValidateTask

TRAIN = "train"
VALIDATE = "validate"
TEST_INITIAL = "test_initial"
TEST_BEST = "test_best"

#: What the tasks call, by the names under which the notebook registers it.
FUNCTIONS = ("train", "validate", "test")

#: Rounds after the last training round: one validates the final aggregate, one tests the best model.
CLOSING_ROUNDS = 2


@dataclass(frozen=True)
class RoundSchedule:
    """Task assigner of an experiment with ``training_rounds`` rounds of training.

    OpenFL calls the instance on the director, once for each round. The functions named here
    (``train``, ``validate``, ``test``) are the ones that the notebook registers.

    Attributes:
        training_rounds: rounds in which collaborators train.
        fraction: share of the collaborators that train in each of them, in (0, 1]; the others only validate,
            so that models are compared on everybody's clips.
        seed: with the round's number, it decides who trains.

    Raises:
        ValueError: no round, or another fraction.
    """

    training_rounds: int
    fraction: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.training_rounds < 1:
            raise ValueError(f"training_rounds is {self.training_rounds}; it must be at least 1")
        if not 0 < self.fraction <= 1:
            raise ValueError(f"fraction is {self.fraction}; it must be in (0, 1]")

    @property
    def total_rounds(self) -> int:
        """Rounds in OpenFL's counting, closing rounds included."""
        return self.training_rounds + CLOSING_ROUNDS

    def tasks(self, round_number: int) -> list[Task]:
        """Tasks of a collaborator that trains in OpenFL round ``round_number`` (from 0), in order."""
        if round_number == self.training_rounds + 1:
            return [ValidateTask(name=TEST_BEST, function_name="test")]
        tasks: list[Task] = [ValidateTask(name=VALIDATE, function_name="validate")]
        if round_number == 0:
            tasks.append(ValidateTask(name=TEST_INITIAL, function_name="test"))
        if round_number < self.training_rounds:
            tasks.append(TrainTask(name=TRAIN, function_name="train"))
        return tasks

    def trainers(self, collaborators: Iterable[str], round_number: int) -> list[str]:
        """Return who trains in a round: ``ceil(fraction * n)`` of the ``n`` collaborators, sorted.

        The draw depends on the names, the seed and the round alone, so a resumed experiment repeats it.
        """
        names = sorted(collaborators)
        # The product may lie a rounding error above the whole number that is meant: 0.07 * 100 does.
        count = min(len(names), math.ceil(self.fraction * len(names) - 1e-9))
        if count == len(names):
            return names
        draw = np.random.default_rng(np.random.SeedSequence((self.seed, round_number)))
        return sorted(names[index] for index in draw.choice(len(names), count, replace=False))

    def __call__(self, collaborators: Iterable[str], round_number: int, **_: object) -> dict[str, list[Task]]:
        """Return the tasks of each collaborator, as OpenFL's ``Assigner`` asks for them."""
        names = list(collaborators)
        trainers = self.trainers(names, round_number)
        tasks = self.tasks(round_number)
        return {name: [t for t in tasks if t.name != TRAIN or name in trainers] for name in names}
