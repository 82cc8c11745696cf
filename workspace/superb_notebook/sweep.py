"""Experiments that differ in a few settings: `sweep(…, learning_rate=[1e-3, 3e-3])`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from IPython.display import display
from openfl.interface.interactive_api.experiment import TaskInterface
from openfl.interface.interactive_api.federation import Federation

from superb_ks.settings import Settings
from superb_notebook.flower import FlowerFederation
from superb_notebook.history import History
from superb_notebook.monitor import watch
from superb_notebook.plots import show
from superb_notebook.progress import ProgressBar, activity, progress
from superb_notebook.summary import write_summary
from superb_notebook.sweep_queue import DIGITS, SweepQueue
from superb_notebook.sweep_results import Sweep, SweptRun, plot_sweep, why_in_short
from superb_notebook.sweep_settings import combinations
from superb_notebook.tasks import tutorial_tasks
from superb_notebook.tracking.backends import TRACK, backends_of
from superb_notebook.tracking.writing import Tracking

NOT_WATCHED = "not watched to its end"
"""The `failure` of runs that had not ended when their cell was interrupted."""


def sweep(
    federation: Federation | FlowerFederation,
    settings: Settings,
    labels: Sequence[str],
    tasks: Callable[[Settings], TaskInterface] = tutorial_tasks,
    track: str | None = None,
    **values: Sequence[Any],
) -> Sweep:
    """Run an experiment for each combination of values; end in a table and a plot.

    All settings are checked before the first one is submitted. Then all are, so the director runs them also
    when the notebook is closed; on Flower, which has no queue, each is submitted when the one before it has
    ended. A run that fails is named, and the others go on. Interrupting the cell ends the watching alone,
    because a kernel that is shut down interrupts its cell, too; `stop()` of the result ends the runs. The
    same sweep again, by the same `experiment_name`, trains only what has not finished.

    Each finished run leaves a folder with its figures in `settings.runs_dir`; its models are the director's.

    Args:
        federation: from `connect`.
        settings: what all runs have in common. With their `experiment_name` the names of all runs begin;
            None makes up a new one.
        labels: class names, in the order of the model's outputs.
        tasks: makes the tasks of a run from its settings; by default the tutorial's.
        track: where the records of each run are written too, under its own name (see
            `superb_notebook.monitor.follow`).
        values: lists of values by setting, such as `strategy=["fedavg", "median"]`, `learning_rate=[1e-3]`
            (see `superb_notebook.sweep_settings.combinations`).

    Raises:
        ValueError: a setting or a value is illegal; one line for each.
        TrackingError: `track` names no backend, or one that is not installed.
        FederationError: the director does not answer, or refuses this notebook.
    """
    backends_of(os.environ.get(TRACK, "") if track is None else track)
    stem = settings.experiment_name or f"sweep-{datetime.now():%Y%m%d-%H%M%S}"
    replace(settings, experiment_name=f"{stem}-{'0' * DIGITS}")  # says if the names would be too long
    common = replace(settings, experiment_name=stem)
    runs = [SweptRun(own, made) for own, made in combinations(common, values)]
    queue = SweepQueue(federation, stem, runs, labels, tasks)
    result = Sweep(runs, queue.stop)
    bar = _Bar(result.runs)
    try:
        for run in result.runs:
            queue.submit(bar.submits)
            if not run.failure:
                _follow(run, track, bar)
            queue.ended(run)
            bar.ended(run)
    except KeyboardInterrupt:
        bar.interrupted()
    display(result.table)
    if result.finished:
        display(show(plot_sweep(result), "validation and test accuracy of each run of the sweep"))
    return result


class _Bar:
    """One bar for all runs, and a line for each that has ended."""

    def __init__(self, runs: Sequence[SweptRun]) -> None:
        self._runs = runs
        self._started = time.monotonic()
        self._ended = 0
        self._bar = display(self._at(0.0, "begins"), display_id=True)  # None outside of a notebook

    def submits(self, run: SweptRun) -> None:
        """Show that a run is submitted."""
        self._show(0.0, f"{self._called(run)}: is submitted")

    def refresh(self, run: SweptRun) -> None:
        """Show how far a run is."""
        if run.history is not None:
            self._show(progress(run.history), f"{self._called(run)}: {activity(run.history)}")

    def ended(self, run: SweptRun) -> None:
        """Say in a line what became of a run."""
        self._ended += 1
        line = self._say(run)
        self._show(0.0, (run.failure or "finished") if self._ended == len(self._runs) else line)

    def interrupted(self) -> None:
        """Say that nobody watches any more, and what goes on."""
        for run in self._runs[self._ended :]:
            run.failure = run.failure or NOT_WATCHED
        print("The runs that were submitted go on. The same sweep again shows them; `stop()` of its result")
        print("ends them.", flush=True)
        self._show(0.0, NOT_WATCHED)

    def _say(self, run: SweptRun) -> str:
        scores = f"validation accuracy {run.validation}, test accuracy {run.test}"
        line = f"{self._called(run)}: {run.failure or scores}"
        print(line[:1].upper() + line[1:], flush=True)
        return line

    def _called(self, run: SweptRun) -> str:
        return f"run {self._runs.index(run) + 1} of {len(self._runs)}, {run.words}"

    def _show(self, share: float, words: str) -> None:
        if self._bar is not None:
            self._bar.update(self._at(share, words))

    def _at(self, share: float, words: str) -> ProgressBar:
        done = (self._ended + share) / len(self._runs)
        return ProgressBar(done, round(time.monotonic() - self._started), words)


def _follow(run: SweptRun, track: str | None, bar: _Bar) -> None:
    """Follow a run that was submitted to its end; why it did not finish is its `failure`."""
    settings, folder = run.settings, Path(run.settings.runs_dir, run.name)
    history = run.history = History(settings.rounds, sorted(run.cards), settings.personalise)
    history.experiment = run.name
    try:
        assert run.experiment is not None
        records = run.experiment.records()
        tracking = Tracking(records, track, folder)
        watch(records, tracking, history, history.add, lambda: bar.refresh(run))
        folder.mkdir(parents=True, exist_ok=True)
        write_summary(folder, settings, run.cards, history)
        run.folder = folder
    except Exception as error:  # whatever it is, the other runs' results stay
        run.failure = why_in_short(error)
