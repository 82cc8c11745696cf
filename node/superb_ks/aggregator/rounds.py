"""The book of one round: what it asks of whom, what was reported, what is still open."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping

from openfl.component.assigner.tasks import Task

from superb_ks.aggregator.strategies.updates import Updates
from superb_ks.metrics import Metrics
from superb_ks.schedule import TRAIN


class Round:
    """One round as the aggregator keeps it.

    Args:
        tasks: of each collaborator, in order.

    Attributes:
        reports: metrics by task and collaborator.
        updates: takes in what those who train send; set by the aggregator before the first report.
        records: how many records the metrics of each collaborator have made.
        ignored: whether a metric of anybody was left out.
    """

    updates: Updates

    def __init__(self, tasks: Mapping[str, list[Task]]) -> None:
        self._tasks = tasks
        self._started = time.monotonic()
        names = dict.fromkeys(task.name for tasks_of_one in tasks.values() for task in tasks_of_one)
        self.reports: dict[str, dict[str, Metrics]] = {name: {} for name in names}
        self.records: Counter[str] = Counter()
        self.ignored = False

    @property
    def seconds(self) -> float:
        """Since the round was started."""
        return time.monotonic() - self._started

    @property
    def trainers(self) -> list[str]:
        """Those who are asked to train, by name."""
        return sorted(name for name, tasks in self._tasks.items() if any(t.name == TRAIN for t in tasks))

    def open_tasks(self, name: str) -> list[Task]:
        """Return what `name` has not reported yet."""
        return [task for task in self._tasks.get(name, ()) if name not in self.reports[task.name]]

    def awaits(self, name: str, task_name: str) -> bool:
        """Say whether `name` was asked for a task and has not reported it yet."""
        return any(task.name == task_name for task in self.open_tasks(name))

    def is_complete(self, present: Collection[str]) -> bool:
        """Say whether those `present` have reported everything."""
        return not any(self.open_tasks(name) for name in present)
