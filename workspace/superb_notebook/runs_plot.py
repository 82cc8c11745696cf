"""The plot that compares finished runs: what each reached, and what it cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from superb_node.text import printable
from superb_notebook.experiment_plots import plot_nothing
from superb_notebook.plots import BLUE, FIGURE_INCHES, GREY, INK, style
from superb_notebook.runs import Run, find_runs, left_out
from superb_notebook.told_settings import differences

MOST = 24
"""Runs in one figure."""

MOST_LETTERS = 60
"""In a line of a run's label: the rest of the figure needs room."""


def compare_runs(runs: Path | str = "../runs") -> Figure:
    """Draw the newest runs of a folder in rows: test accuracy, seconds, and what each envoy sent.

    Folders that are no runs are named in a line each.

    Args:
        runs: the folder of all runs.

    Raises:
        ValueError: there is no such folder.
    """
    found, others = find_runs(Path(runs))
    for line in left_out(others):
        print(line)
    if not found:
        return plot_nothing("There are no finished runs here; make demo makes one.")
    return plot_runs(found[-MOST:])


def plot_runs(runs: Sequence[Run]) -> Figure:
    """Draw runs in rows, in the order given: accuracy and its 95 % interval, seconds, MB."""
    own = differences([run.settings for run in runs])
    with style():
        figure = Figure(
            figsize=(FIGURE_INCHES, 1.1 + (0.65 if any(own) else 0.5) * len(runs)), layout="constrained"
        )
        accuracy, seconds, sent = figure.subplots(1, 3, sharey=True, width_ratios=(2.4, 1, 1))
        places = range(len(runs) - 1, -1, -1)
        labels = [_label(run, words) for run, words in zip(runs, own, strict=True)]
        accuracy.set_yticks(places, labels, color=INK, fontsize=9)
        accuracy.set_ylim(-0.6, len(runs) - 0.4)
        _draw_accuracies(accuracy, places, runs)
        _draw_costs(seconds, places, [run.seconds for run in runs], "{:,.0f}")
        _draw_costs(sent, places, [run.sent for run in runs], "{:,.1f}")
        accuracy.set_title("Test accuracy")
        seconds.set_title("Seconds")
        sent.set_title("MB per envoy")
        return figure


def margin(run: Run) -> float:
    """Return half the 95 % interval of a run's accuracy: so much, other test clips would have changed it."""
    return 1.96 * math.sqrt(run.accuracy * (1 - run.accuracy) / run.clips) if run.clips else 0.0


def _label(run: Run, own: str) -> str:
    envoys = "1 envoy" if run.envoys == 1 else f"{run.envoys} envoys"
    lines = (f"{run.title}: {envoys}, {run.partition}", f"{run.model}, {run.tuning}, {run.strategy}", own)
    return "\n".join(printable(line)[:MOST_LETTERS] for line in lines if line)


def _draw_accuracies(axes: Axes, places: Sequence[int], runs: Sequence[Run]) -> None:
    values = [run.accuracy for run in runs]
    axes.errorbar(
        values,
        places,
        xerr=[margin(run) for run in runs],
        fmt="o",
        color=BLUE,
        markersize=7,
        elinewidth=2,
    )
    for place, run in zip(places, runs, strict=True):
        axes.annotate(
            f"{run.accuracy:.1%}", (run.accuracy, place), (0, 8), textcoords="offset points",
            ha="center", color=INK, fontsize=9, fontweight="bold",
        )  # fmt: skip
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel("line: 95 % interval", color=GREY)
    axes.grid(True, axis="x")
    axes.spines["left"].set_visible(False)
    axes.margins(x=0.12)


def _draw_costs(axes: Axes, places: Sequence[int], values: Sequence[float | None], number: str) -> None:
    """Draw bars from nothing; "-" where nothing was measured."""
    bars = axes.barh(places, [value or 0.0 for value in values], height=0.4, color=GREY, alpha=0.5)
    texts = ["-" if value is None else number.format(value) for value in values]
    axes.bar_label(bars, texts, padding=4, color=INK, fontsize=9)
    axes.tick_params(labelleft=False)
    axes.xaxis.set_visible(False)
    axes.spines[["bottom", "left"]].set_visible(False)
    axes.margins(x=0.3)
