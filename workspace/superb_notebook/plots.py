"""Plots of an experiment: what the envoys hold, how training went, what the model gets wrong."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from IPython.display import Image
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from superb_ks.schedule import TRAIN, VALIDATE
from superb_notebook.history import AGGREGATOR, History

INK, GREY, FAINT = "#1f2430", "#6b7280", "#e5e7eb"
# Okabe and Ito's colours, which stay apart for every kind of colour vision.
BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#009e73"
_ENVOY_COLOURS = (BLUE, ORANGE, GREEN, "#cc79a7", "#56b4e9", "#e69f00")
_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    # A class is called what its owner calls it, dollars included.
    "text.parse_math": False,
    "axes.labelcolor": GREY,
    "axes.edgecolor": "#9ca3af",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.solid_capstyle": "round",
}
_DPI = 96
MOST_LINES = 32
"""Envoys whose lines are drawn; of more, only what all did together."""
FIGURE_INCHES = 9.6
FIGURE_PIXELS = int(FIGURE_INCHES * _DPI)
"""Width of the figures in a page."""

Cards = Mapping[str, Mapping[str, Any]]


def style() -> Any:
    """Return the context in which all figures here are drawn; it leaves the learner's own settings alone."""
    return mpl.rc_context(_STYLE)


def envoy_colours(envoys: Iterable[str]) -> dict[str, str]:
    """Return a colour for each envoy, by its place in the order given; beyond six they repeat."""
    return dict(zip(envoys, itertools.cycle(_ENVOY_COLOURS), strict=False))


def show(figure: Figure, description: str) -> Image:
    """Render a figure for the notebook, sharp on dense screens, with a description for screen readers."""
    file = io.BytesIO()
    with style():
        figure.savefig(file, format="png", dpi=2 * _DPI, facecolor="white")
    return Image(data=file.getvalue(), format="png", retina=True, alt=description)


# Before training ------------------------------------------------------------------------------------------


def plot_shards(cards: Cards) -> Figure:
    """Draw who holds what: on the left clips of each split, on the right training clips of each class."""
    with style():
        spaced = ConstrainedLayoutEngine(hspace=0.1, wspace=0.04)
        figure = Figure(figsize=(FIGURE_INCHES, 0.3 + 1.7 * len(cards)), layout=spaced)
        axes = figure.subplots(len(cards), 2, squeeze=False, sharex="col", sharey="col", width_ratios=(1, 3))
        for row, (name, colour) in zip(axes, envoy_colours(cards).items(), strict=True):
            _draw_splits(row[0], name, cards[name], colour)
            _draw_classes(row[1], cards[name], colour)
        return figure


def _draw_splits(axes: Axes, name: str, card: Mapping[str, Any], colour: str) -> None:
    totals = [sum(card["clips"][split].values()) for split in ("train", "val", "test")]
    bars = axes.barh([2, 1, 0], totals, color=colour, height=0.62)
    axes.bar_label(bars, [f"{total:,}" for total in totals], padding=4, color=INK, fontsize=9)
    axes.set_yticks([2, 1, 0], ["train", "validation", "test"])
    axes.set_title(name, color=colour)
    axes.spines[["bottom", "left"]].set_visible(False)
    axes.xaxis.set_visible(False)
    axes.margins(x=0.22)


def _draw_classes(axes: Axes, card: Mapping[str, Any], colour: str) -> None:
    counts = card["clips"]["train"]
    bars = axes.bar([label.strip("_") for label in counts], list(counts.values()), color=colour, width=0.72)
    axes.bar_label(bars, padding=2, color=INK, fontsize=8)
    axes.tick_params(axis="x", labelsize=8.5, labelcolor=INK)
    minutes, speakers = card["seconds"]["train"] / 60, card["speakers"]["train"]
    axes.set_title(
        f"training clips by class: {speakers} speakers, {minutes:.0f} min",
        fontsize=10,
        fontweight="normal",
        color=GREY,
    )
    axes.spines["left"].set_visible(False)
    axes.yaxis.set_visible(False)
    axes.margins(x=0.01, y=0.15)


def plot_schedule(rates: NDArray[np.float64], steps_per_round: int) -> Figure:
    """Draw the learning rate over the optimizer steps of a whole federation, its rounds marked."""
    with style():
        figure = Figure(figsize=(FIGURE_INCHES, 2.3), layout="constrained")
        axes = figure.subplots()
        axes.plot(rates, color=INK, linewidth=2)
        for start in range(0, len(rates), steps_per_round):
            number = start // steps_per_round
            axes.axvspan(
                start, start + steps_per_round, color=FAINT, alpha=0.7 if number % 2 == 0 else 0, linewidth=0
            )
            if len(rates) <= 12 * steps_per_round:
                axes.annotate(
                    f"round {number + 1}", (start + steps_per_round / 2, 1.0), (0, 3),
                    xycoords=("data", "axes fraction"), textcoords="offset points", ha="center", color=GREY,
                )  # fmt: skip
        axes.set(
            xlabel="optimizer steps of one envoy",
            ylabel="learning rate",
            xlim=(0, len(rates)),
            ylim=(0, None),
        )
        return figure


# Training -------------------------------------------------------------------------------------------------


class _Line(NamedTuple):
    """One line of a plot: envoys' lines are thin and coloured, pooled ones thick and dark."""

    label: str
    colour: str
    points: Sequence[tuple[float, float]]
    thick: bool = False
    dash: str = "-"


def plot_learning(history: History) -> Figure:
    """Draw loss (left) and validation accuracy (right) over the training rounds, as far as they are known."""
    with style():
        figure = Figure(figsize=(FIGURE_INCHES, 3.6), layout="constrained")
        loss, accuracy = figure.subplots(1, 2)
        _draw_lines(loss, _loss_lines(history), "{:.2f}", falls=True)
        loss.set(title="Loss", ylim=(0, max(2.75, 1.06 * loss.get_ylim()[1])))
        _draw_lines(accuracy, _accuracy_lines(history), "{:.1%}", falls=False)
        accuracy.set(title="Validation accuracy", ylim=(0, 1.03))
        accuracy.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        if (epsilon := history.epsilon(history.rounds)) is not None:
            accuracy.set_title(f"epsilon {epsilon:.3g} spent", loc="right", color=GREY, fontweight="normal")
        for axes in (loss, accuracy):
            axes.set(xlabel="training rounds done", xlim=(-0.04 * history.rounds, history.rounds * 1.04))
            axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True, min_n_ticks=1))
            axes.grid(True)
            axes.spines["left"].set_visible(False)
        _draw_legend(accuracy, _shown(history))
        return figure


def _shown(history: History) -> list[str]:
    """Return whose lines are drawn: nobody's where there would be too many to see."""
    return history.envoys if len(history.envoys) <= MOST_LINES else []


def _draw_legend(axes: Axes, envoys: Sequence[str]) -> None:
    """Explain the lines of both panels to the right of the right one, where no line can ever be."""
    colours = envoy_colours(envoys)
    # Beyond six envoys colours repeat, and names would say nothing.
    named = colours if len(set(colours.values())) == len(colours) else {"an envoy": GREY}
    lines = [Line2D([], [], color=INK, linewidth=2.4, marker="o", markersize=5, label="all, pooled")]
    lines += [
        Line2D([], [], color=colour, linewidth=1.2, marker="o", markersize=3.5, label=name)
        for name, colour in named.items()
    ]
    lines += [Line2D([], [], color=GREY, linewidth=1.2, linestyle="--", label="training loss")]
    axes.legend(
        handles=lines,
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
        frameon=False,
        fontsize=9,
        labelcolor="linecolor",
    )


def _loss_lines(history: History) -> list[_Line]:
    validation = [
        (n, loss) for n in range(history.rounds + 1) if (loss := history.pooled_loss(VALIDATE, n)) is not None
    ]
    lines = [_Line("validation, pooled", INK, validation, thick=True)]
    training = envoy_colours(_shown(history)) or {AGGREGATOR: GREY}
    for name, colour in training.items():
        rounds, losses = history.series(TRAIN, "loss", name)
        # A training loss is a mean over its round, so it belongs to the round's middle.
        points = [(number + 0.5, loss) for number, loss in zip(rounds, losses, strict=True)]
        lines.append(_Line(f"training, {name}", colour, points, dash="--"))
    return lines


def _accuracy_lines(history: History) -> list[_Line]:
    origins = {AGGREGATOR: ("pooled", INK)}
    origins |= {name: (name, colour) for name, colour in envoy_colours(_shown(history)).items()}
    lines = []
    for origin, (label, colour) in origins.items():
        scores = [(n, history.score(VALIDATE, n, origin)) for n in range(history.rounds + 1)]
        points = [(n, score.accuracy) for n, score in scores if score is not None]
        lines.append(_Line(label, colour, points, thick=origin == AGGREGATOR))
    return lines


def _draw_lines(axes: Axes, lines: Sequence[_Line], number: str, falls: bool) -> None:
    """Draw lines, the thick ones on top and with their last value, formatted by `number`.

    The value stands above the last point, next to a line that comes from above (`falls`) or from below.
    """
    for line in lines:
        axes.plot(
            [x for x, _ in line.points],
            [y for _, y in line.points],
            line.dash,
            marker="o",
            color=line.colour,
            linewidth=2.4 if line.thick else 1.2,
            markersize=5 if line.thick else 3.5,
            zorder=3 if line.thick else 2,
            label=line.label,
        )
        if line.thick and line.points:
            text, place = number.format(line.points[-1][1]), line.points[-1]
            # The first one has the numbers of the axis on its left.
            side = "left" if falls or not place[0] else "right"
            axes.annotate(
                text,
                place,
                (4 if side == "right" else -4, 8),
                textcoords="offset points",
                ha=side,
                fontweight="bold",
            )


# The final model ------------------------------------------------------------------------------------------


def plot_confusion(confusion: NDArray[np.int64], labels: Sequence[str]) -> Figure:
    """Draw a confusion matrix: counts in the cells, their shares of the true class as shade."""
    totals = confusion.sum(axis=1)
    shares = confusion / np.maximum(totals, 1)[:, None]
    n = len(labels)
    with style():
        figure = Figure(figsize=(7.4, 6.2), layout="constrained")
        axes = figure.subplots()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for i, j in np.argwhere(confusion):
            colour = "white" if shares[i, j] > 0.55 else INK
            axes.text(j, i, f"{confusion[i, j]:,}", ha="center", va="center", color=colour, fontsize=9)
        for i in range(n):
            recall = f"{shares[i, i]:.0%}" if totals[i] else "no clips"
            axes.text(n - 0.3, i, recall, va="center", color=INK, fontsize=9)
        axes.text(n - 0.3, -0.9, "recall", va="center", color=GREY, fontsize=9)
        axes.set_xticks(range(n), labels, rotation=45, ha="right", rotation_mode="anchor", color=INK)
        axes.set_yticks(range(n), labels, color=INK)
        axes.set(xlabel="what the model said", ylabel="what was said")
        axes.hlines(np.arange(n + 1) - 0.5, -0.5, n - 0.5, color="white", linewidth=1.5)
        axes.vlines(np.arange(n + 1) - 0.5, -0.5, n - 0.5, color="white", linewidth=1.5)
        axes.spines[:].set_visible(False)
        return figure
