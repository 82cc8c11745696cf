"""The schedule of rounds in OpenFL's terms, for its gRPC service.

Corrects: OpenFL's own assigner trains, then validates the incoming model, and stops, so the last aggregate is
never scored.
"""

from __future__ import annotations

from collections.abc import Iterable

from openfl.component.assigner.tasks import Task, TrainTask, ValidateTask

from superb_ks.schedule import TRAIN, RoundSchedule, ScheduledTask


class ScheduledAssigner(RoundSchedule):
    """Says which collaborator has which of OpenFL's tasks in a round."""

    def tasks_of(self, collaborators: Iterable[str], round_number: int) -> dict[str, list[Task]]:
        """Return the tasks of each collaborator in a round, in order."""
        names = sorted(collaborators)
        trainers = self.trainers(names, round_number)
        tasks = self.tasks(round_number)
        return {
            name: [_openfl_task(task) for task in tasks if task.name != TRAIN or name in trainers]
            for name in names
        }


def _openfl_task(task: ScheduledTask) -> Task:
    kind = TrainTask if task.name == TRAIN else ValidateTask
    return kind(name=task.name, function_name=task.function)
