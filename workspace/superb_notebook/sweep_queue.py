"""Puts the runs of a sweep into the director's queue, all of them at the start, and takes them out again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

import grpc
from openfl.interface.interactive_api.experiment import TaskInterface
from openfl.interface.interactive_api.federation import Federation

from superb_ks.experiment import digest
from superb_ks.model.spec import ModelSpec
from superb_ks.settings import Settings
from superb_node.flower.cli import FlowerRefused
from superb_notebook.connect import shard_cards
from superb_notebook.experiment import FederatedExperiment, NoRoom, experiment_text
from superb_notebook.flower import FlowerFederation
from superb_notebook.sweep_results import SweptRun, why_in_short

DIGITS = 8
"""Of the digest of an experiment's text, at the end of its name."""

_UNDER_WAY = ("pending", "in_progress")


class SweepQueue:
    """The experiments of a sweep, submitted in order.

    The name of each ends in digits of its text's digest. So nothing is trained twice: if the same sweep is
    run again, it finds the experiments that have finished, run or wait, and resumes those that were stopped.

    Args:
        federation: from `connect`. On Flower, which has no queue, an experiment is submitted when the one
            before it has ended.
        stem: with which the experiments' names begin.
        runs: of the sweep.
        labels: class names, in the order of the model's outputs.
        tasks: makes the tasks of a run from its settings.
    """

    def __init__(
        self,
        federation: Federation | FlowerFederation,
        stem: str,
        runs: Sequence[SweptRun],
        labels: Sequence[str],
        tasks: Callable[[Settings], TaskInterface],
    ) -> None:
        self._federation, self._stem, self._labels, self._tasks = federation, stem, labels, tasks
        self._one_by_one = isinstance(federation, FlowerFederation)
        self._online = sorted(shard_cards(federation))
        self._count, self._left = len(runs), list(runs)
        self._under_way: list[SweptRun] = []
        self._told = False

    def submit(self, tell: Callable[[SweptRun], None]) -> None:
        """Submit what is left, as far as there is room; a run that cannot be submitted gets its `failure`.

        Args:
            tell: is called with each run before it is submitted.
        """
        while self._left and not (self._one_by_one and self._under_way):
            run = self._left[0]
            tell(run)
            try:
                self._begin(run)
            except NoRoom as full:
                if self._under_way:
                    self._tell_once(full)
                    return
                run.failure = why_in_short(full)
            except Exception as error:  # also of the user's own tasks: the other runs go on
                run.failure = why_in_short(error)
            self._left.pop(0)

    def ended(self, run: SweptRun) -> None:
        """Note that a run has ended, which may make room for others."""
        if run in self._under_way:
            self._under_way.remove(run)

    def stop(self) -> None:
        """Take out of the queue what waits, the last first, and stop what runs."""
        for run in reversed(self._under_way):
            with suppress(RuntimeError, OSError, grpc.RpcError):  # it has ended
                if run.experiment and run.experiment.status() in _UNDER_WAY:
                    run.experiment.stop()

    def _begin(self, run: SweptRun) -> None:
        """Submit a run, unless it is there already.

        Raises:
            NoRoom: it has to wait for others.
            RuntimeError, ValueError, OSError: it cannot be submitted.
        """
        settings = self._with_envoys(run.settings)
        tasks, spec = self._tasks(settings), ModelSpec.of(settings, self._labels).sealed()
        name = f"{self._stem}-{digest(experiment_text(spec, tasks, settings))[:DIGITS]}"
        run.settings = replace(run.settings, experiment_name=name)
        run.cards = shard_cards(self._federation, settings.envoys)
        experiment = FederatedExperiment(self._federation, name)
        experiment.settings, experiment.envoys = settings, sorted(run.cards)
        run.experiment = experiment
        self._under_way.append(run)
        try:
            status = _status(experiment)
            if status not in (*_UNDER_WAY, "finished"):
                experiment.start(model=spec, tasks=tasks, settings=settings, resume=status != "")
        except Exception:
            self._under_way.remove(run)
            raise

    def _with_envoys(self, settings: Settings) -> Settings:
        """Name all that are online where none are chosen, so that all runs are of the same envoys."""
        enough = len(self._online) >= settings.failures.min_envoys  # else the submission says so
        if self._one_by_one or settings.envoys is not None or not enough:
            return settings
        return replace(settings, envoys=tuple(self._online))

    def _tell_once(self, full: NoRoom) -> None:
        if self._told:
            return
        self._told = True
        first = self._count - len(self._left) + 1
        which = f"Run {first} is" if first == self._count else f"Runs {first} to {self._count} are"
        print(f"{which} submitted when others have ended, so keep this notebook open: {full}", flush=True)


def _status(experiment: FederatedExperiment) -> str:
    """Return how an experiment stands; empty if there is none of its name."""
    try:
        return experiment.status()
    except (grpc.RpcError, FlowerRefused):
        return ""
