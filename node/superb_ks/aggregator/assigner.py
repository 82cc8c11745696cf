"""The schedule of rounds as OpenFL asks for it.

Corrects: OpenFL's own assigner trains, then validates the incoming model, and stops, so the last aggregate is
never scored.
"""

from __future__ import annotations

from collections.abc import Iterable

from openfl.component.assigner.tasks import Task, TrainTask, ValidateTask

from superb_ks.schedule import TRAIN, RoundSchedule, ScheduledTask


class ScheduledAssigner(RoundSchedule):
    """Task assigner of an experiment: OpenFL calls the instance on the director, once for each round."""

    def __call__(self, collaborators: Iterable[str], round_number: int, **_: object) -> dict[str, list[Task]]:
        """Return the tasks of each collaborator, as OpenFL's `Assigner` asks for them."""
        names = list(collaborators)
        trainers = self.trainers(names, round_number)
        tasks = self.tasks(round_number)
        return {
            name: [_openfl_task(task) for task in tasks if task.name != TRAIN or name in trainers]
            for name in names
        }


def _openfl_task(task: ScheduledTask) -> Task:
    kind = TrainTask if task.name == TRAIN else ValidateTask
    return kind(name=task.name, function_name=task.function)
