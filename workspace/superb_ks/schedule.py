"""Which collaborator does what in which round.

OpenFL's own assigner trains, then validates the incoming model, and stops: the last aggregate is never
scored. This schedule validates first (so that round 0 measures the untouched model), adds one round that
validates the last aggregate and one that scores the best model on the test split.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from openfl.component.assigner.tasks import Task, TrainTask, ValidateTask

TRAIN = "train"
VALIDATE = "validate"
TEST_INITIAL = "test_initial"
TEST_BEST = "test_best"

#: Rounds after the last training round: one validates the final aggregate, one tests the best model.
CLOSING_ROUNDS = 2


@dataclass(frozen=True)
class RoundSchedule:
    """Task assigner of an experiment with ``training_rounds`` rounds of training.

    OpenFL calls the instance on the director, once for each round. The functions named here
    (``train``, ``validate``, ``test``) are the ones that the notebook registers.
    """

    training_rounds: int

    def __post_init__(self) -> None:
        if self.training_rounds < 1:
            raise ValueError(f"training_rounds is {self.training_rounds}; it must be at least 1")

    @property
    def total_rounds(self) -> int:
        """Rounds in OpenFL's counting, closing rounds included."""
        return self.training_rounds + CLOSING_ROUNDS

    def tasks(self, round_number: int) -> list[Task]:
        """Tasks of every collaborator in OpenFL round ``round_number`` (from 0), in order."""
        if round_number == self.training_rounds + 1:
            return [ValidateTask(name=TEST_BEST, function_name="test")]
        tasks: list[Task] = [ValidateTask(name=VALIDATE, function_name="validate")]
        if round_number == 0:
            tasks.append(ValidateTask(name=TEST_INITIAL, function_name="test"))
        if round_number < self.training_rounds:
            tasks.append(TrainTask(name=TRAIN, function_name="train"))
        return tasks

    def __call__(self, collaborators: Iterable[str], round_number: int, **_: object) -> dict[str, list[Task]]:
        """Return the tasks of each collaborator, as OpenFL's ``Assigner`` asks for them."""
        return {name: self.tasks(round_number) for name in collaborators}
