"""Plots that compare experiments, or models: accuracy by round, against traffic, and in the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, PercentFormatter

from superb_ks.schedule import VALIDATE
from superb_node.names import ALL
from superb_notebook.history import History
from superb_notebook.personal import Pair, Personal, personal_models, pooled_pair
from superb_notebook.plots import BLUE, FIGURE_INCHES, GREY, INK, MOST_LINES, envoy_colours, style


def plot_rounds(histories: Mapping[str, History]) -> Figure:
    """Draw the validation accuracy after each round, a line for each experiment.

    The untouched model is left out: with it in view, the lines would share a tenth of the axis.

    Args:
        histories: finished experiments by the name that is shown.
    """
    with style():
        figure = Figure(figsize=(FIGURE_INCHES, 3.4), layout="constrained")
        axes = figure.subplots()
        for (name, history), colour in zip(histories.items(), envoy_colours(histories).values(), strict=True):
            scores = [(n, history.score(VALIDATE, n)) for n in range(1, history.rounds + 1)]
            known = {n: score.accuracy for n, score in scores if score is not None}
            axes.plot(list(known), list(known.values()), "o-", color=colour, linewidth=2.4, label=name)
        axes.set(title="Validation accuracy", xlabel="training rounds done")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _finish(axes)
        return figure


def plot_traffic(histories: Mapping[str, History]) -> Figure:
    """Draw each experiment's test accuracy against what an envoy sent in all rounds.

    Args:
        histories: finished experiments by the name that is shown.
    """
    with style():
        figure = Figure(figsize=(FIGURE_INCHES, 3.2), layout="constrained")
        axes = figure.subplots()
        for (name, history), colour in zip(histories.items(), envoy_colours(histories).values(), strict=True):
            score, sent = history.test, history.bytes_sent()
            if score is None or sent is None:
                continue
            megabytes = sent / 1e6
            axes.plot(megabytes, score.accuracy, "o", color=colour, markersize=9)
            label = f"{name}: {score.accuracy:.1%}, {megabytes:.1f} MB"
            axes.annotate(
                label, (megabytes, score.accuracy), (0, 10), textcoords="offset points",
                ha="center", color=colour, fontweight="bold",
            )  # fmt: skip
        axes.set(
            title="Test accuracy of the best model", xlabel="MB sent by an envoy in all rounds", xscale="log"
        )
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.margins(x=0.22)
        _finish(axes, legend=False)
        return figure


def plot_scores(accuracies: Mapping[str, float], title: str = "Test accuracy") -> Figure:
    """Draw a horizontal bar for each accuracy, in the order given.

    Args:
        accuracies: in [0, 1], by the name that is shown.
        title: of the figure.
    """
    with style():
        figure = Figure(figsize=(FIGURE_INCHES, 0.8 + 0.36 * len(accuracies)), layout="constrained")
        axes = figure.subplots()
        places = np.arange(len(accuracies))[::-1]
        bars = axes.barh(places, list(accuracies.values()), height=0.62, color=BLUE)
        axes.bar_label(bars, [f"{value:.1%}" for value in accuracies.values()], padding=5, color=INK)
        axes.set_yticks(places, list(accuracies), color=INK)
        axes.set(title=title, xlim=(0, 1.1))
        axes.spines[["bottom", "left"]].set_visible(False)
        axes.xaxis.set_visible(False)
        return figure


def plot_personal(history: History) -> Figure:
    """Draw what one more round on its own clips did to each envoy's accuracy on validation and test clips.

    The last row is all envoys' clips together, with the model that each envoy has in the end.

    Args:
        history: of an experiment that personalised.
    """
    personal = personal_models(history)
    if not personal:
        return plot_nothing("No envoy has personalised the model.")
    rows = _personal_rows(personal, envoy_colours(history.envoys))
    with style():
        figure = Figure(figsize=(FIGURE_INCHES, 1.3 + 0.42 * len(rows)), layout="constrained")
        validation, test = figure.subplots(1, 2, sharey=True)
        for height, row in enumerate(rows):
            _draw_pair(validation, height, row.validation, row.colour, row.kept)
            _draw_pair(test, height, row.test, row.colour, row.kept)
        for axes, split in ((validation, "validation"), (test, "test")):
            axes.set(title=f"Accuracy on own {split} clips", xlim=(-0.02, 1.4))
            axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1.0])
            axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
            axes.set_yticks(range(len(rows)), [row.name for row in rows], color=INK)
            axes.spines["left"].set_visible(False)
            axes.grid(True, axis="x")
            axes.grid(False, axis="y")
        figure.legend(
            handles=_personal_marks(), loc="outside lower center", ncols=3, frameon=False, fontsize=9
        )
        return figure


class _Row(NamedTuple):
    """An envoy's two models, or those of all together."""

    name: str
    colour: str
    kept: bool
    validation: Pair | None
    test: Pair | None


def _personal_rows(personal: Mapping[str, Personal], colours: Mapping[str, str]) -> list[_Row]:
    """Return the rows from the bottom up: all together, and each envoy if there are not too many."""
    pooled = [pooled_pair(personal.values(), split) for split in ("validation", "test")]
    rows = [_Row(ALL, INK, True, *pooled)]
    if len(personal) <= MOST_LINES:
        for name, each in reversed(list(personal.items())):
            rows.append(_Row(name, colours[name], each.kept, each.validation, each.test))
    return rows


def _personal_marks() -> list[Line2D]:
    """Return what a legend shows of the dots."""
    marks = (("federated model", GREY, GREY), ("personal model, kept", INK, INK), ("not kept", INK, "white"))
    return [
        Line2D([], [], linestyle="", marker="o", color=edge, markerfacecolor=face, label=label)
        for label, edge, face in marks
    ]


def _draw_pair(axes: Axes, height: int, pair: Pair | None, colour: str, kept: bool) -> None:
    """Draw a row: the federated model's dot, and a line to the personal one's, hollow if it is not kept."""
    if pair is None:
        axes.text(0, height, "no clips", va="center", color=GREY, fontsize=9)
        return
    before, after = (score.accuracy for score in pair)
    axes.plot([before, after], [height, height], color=colour, linewidth=1.6, alpha=0.6)
    axes.plot(before, height, "o", color=GREY, markersize=7)
    axes.plot(after, height, "o", color=colour, markerfacecolor=colour if kept else "white", markersize=7)
    words = f"{before:.1%} → {after:.1%}"
    axes.annotate(
        words, (max(before, after), height), (9, 0), textcoords="offset points", va="center", fontsize=8.5
    )


def plot_nothing(words: str) -> Figure:
    """Return a figure that says why there is nothing to see."""
    with style():
        figure = Figure(figsize=(FIGURE_INCHES, 0.6))
        figure.text(0, 0.5, words, color=GREY, va="center")
        return figure


def _finish(axes: Axes, legend: bool = True) -> None:
    """Let the axis hold the data and little else, and explain the lines where none of them can be."""
    low, high = axes.dataLim.intervaly
    if low <= high:  # not so without data
        room = 0.35 * max(high - low, 0.04)
        axes.set_ylim(max(0.0, low - room), min(1.03, high + room))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axes.grid(True, axis="y")
    axes.spines["left"].set_visible(False)
    if legend:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, labelcolor="linecolor")
