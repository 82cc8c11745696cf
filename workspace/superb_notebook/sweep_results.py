"""What the runs of a sweep came to: in order, as a table and as a plot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from superb_ks.schedule import VALIDATE
from superb_ks.settings import Settings
from superb_node.text import printable
from superb_notebook.experiment import FederatedExperiment
from superb_notebook.history import History, Score, without_frames
from superb_notebook.plots import BLUE, FIGURE_INCHES, GREY, INK, ORANGE, style
from superb_notebook.sweep_settings import in_words

MOST = 24
"""Runs in one figure; the best ones."""

_MOST_LETTERS = 60  # of a run's label


@dataclass(eq=False)
class SweptRun:
    """One experiment of a sweep.

    Attributes:
        values: what it has of its own, by the name of the setting.
        settings: all of them.
        cards: the shard cards of its envoys, by name; empty before it is submitted.
        experiment: by which it is followed and its models are fetched; None before it is submitted.
        history: its records; None before it is followed.
        folder: what it left in `runs_dir`; None if it did not finish.
        failure: why it did not, in words; empty if it did.
    """

    values: dict[str, Any]
    settings: Settings
    cards: dict[str, dict[str, Any]] = field(default_factory=dict)
    experiment: FederatedExperiment | None = None
    history: History | None = None
    folder: Path | None = None
    failure: str = ""

    @property
    def name(self) -> str:
        """Of the experiment, by which `attach` finds it."""
        return str(self.settings.experiment_name)

    @property
    def words(self) -> str:
        """What it has of its own, such as "strategy=median, learning_rate=0.001"."""
        return ", ".join(f"{name}={in_words(value)}" for name, value in self.values.items())

    @property
    def validation(self) -> Score | None:
        """Of the best model, on the clips that chose it; None if the experiment did not finish."""
        history = self.history
        if history is None or history.test is None:
            return None
        return history.score(VALIDATE, history.best_round)

    @property
    def test(self) -> Score | None:
        """Of the best model, on clips that chose nothing; None if the experiment did not finish."""
        return self.history.test if self.history is not None else None


class Sweep:
    """What a sweep has come to.

    Attributes:
        runs: all that were planned, in the order in which they were submitted.
        stop: stops what still runs, and takes out of the queue what waits.
    """

    def __init__(self, runs: Sequence[SweptRun], stop: Callable[[], None] = lambda: None) -> None:
        self.runs = list(runs)
        self.stop = stop

    @property
    def finished(self) -> list[SweptRun]:
        """Those that finished, the best on the validation clips first."""
        done = [(run.validation.accuracy, run) for run in self.runs if run.validation is not None]
        return [run for _, run in sorted(done, key=lambda item: -item[0])]

    @property
    def best(self) -> SweptRun:
        """The run whose model is the best on the validation clips; the first of equals.

        Raises:
            ValueError: none has finished.
        """
        if not self.finished:
            raise ValueError("no run of this sweep has finished")
        return self.finished[0]

    @property
    def table(self) -> pd.DataFrame:
        """One row a run, the best on the validation clips first; those that did not finish come last."""
        done = self.finished
        rows = [_row(run) for run in (*done, *(run for run in self.runs if run not in done))]
        table = pd.DataFrame(rows).set_index("experiment")
        return table.dropna(axis="columns", how="all").convert_dtypes()

    def __repr__(self) -> str:
        return f"Sweep of {len(self.runs)} runs, {len(self.finished)} finished"


def _row(run: SweptRun) -> dict[str, Any]:
    row: dict[str, Any] = {"experiment": run.name}
    for name, value in run.values.items():
        row[name] = value if isinstance(value, int | float) else in_words(value)
    if run.validation is not None and run.test is not None and run.history is not None:
        row["validation accuracy"] = round(run.validation.accuracy, 4)
        row["test accuracy"] = round(run.test.accuracy, 4)
        row["best round"] = run.history.best_round
        row["seconds"] = round(sum(result.seconds for result in run.history.results()), 1)
    row["failure"] = run.failure.splitlines()[0] if run.failure else None
    return row


def why_in_short(error: Exception) -> str:
    """Return what an error says, of a traceback only where it arose."""
    return without_frames(str(error)) or type(error).__name__


def plot_sweep(sweep: Sweep) -> Figure:
    """Draw the finished runs in rows, the best on top: validation accuracy, which orders them, and test.

    Raises:
        ValueError: no run has finished.
    """
    runs = [sweep.best, *sweep.finished[1:MOST]]
    with style():
        figure = Figure(figsize=(FIGURE_INCHES, 1.2 + 0.36 * len(runs)), layout="constrained")
        axes = figure.subplots()
        places = range(len(runs) - 1, -1, -1)
        chosen = [run.validation.accuracy for run in runs if run.validation is not None]
        tested = [run.test.accuracy for run in runs if run.test is not None]
        axes.hlines(places, chosen, tested, color=GREY, alpha=0.5, linewidth=2)
        axes.plot(chosen, places, "o", color=BLUE, markersize=8, label="validation: orders the runs")
        axes.plot(tested, places, "D", color=ORANGE, markersize=6, label="test")
        axes.set_yticks(places, [printable(run.words)[:_MOST_LETTERS] for run in runs], color=INK, fontsize=9)
        axes.set_ylim(-0.6, len(runs) - 0.4)
        axes.set_title("Accuracy of the best model of each run")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g}%"))
        axes.grid(True, axis="x")
        axes.grid(False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.margins(x=0.12)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
        return figure
