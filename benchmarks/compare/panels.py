"""The panels of the comparison's plot: what federating costs in epochs and bytes, for whom, by strategy."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, PercentFormatter

from benchmarks.compare.plan import COMPARED, FEDERATIONS
from superb_node.names import envoy_name
from superb_notebook.plots import BLUE, GREEN, GREY, INK, ORANGE
from superb_notebook.results import PLAIN, Outcome, Row, outcomes

TUNING_COLOURS = {"full": BLUE, "lora": ORANGE, "head": GREEN}
CURVES: dict[str, tuple[dict[str, Any], str, str]] = {
    "centralised": ({"regime": "centralised"}, INK, "-"),
    "federated, 2 iid": ({"regime": "federated", "partition": "iid", "envoys": 2}, BLUE, "-"),
    "federated, 4 speaker": ({"regime": "federated", "partition": "speaker"}, GREEN, "-"),
    "federated, 4 dirichlet": ({"regime": "federated", "partition": "dirichlet"}, ORANGE, "-"),
    "alone, 2 iid": ({"regime": "local", "partition": "iid"}, BLUE, ":"),
    "alone, 4 speaker": ({"regime": "local", "partition": "speaker"}, GREEN, ":"),
    "alone, 4 dirichlet": ({"regime": "local", "partition": "dirichlet"}, ORANGE, ":"),
}
_FAR = 0.2  # below the best strategy: with what garbage ruins, the others would share a tenth of the axis
_TWO_EQUAL: dict[str, Any] = {"regime": "federated", "partition": "iid", "envoys": 2}


def mean_curve(outcome: Outcome, key: str) -> tuple[list[float], list[float]]:
    """Return an entry of the curve's points, and the validation accuracy there, both means over the seeds."""
    points = list(zip(*(row["curve"] for row in outcome.rows), strict=True))
    x, y = ([float(np.mean([p[name] for p in seeds])) for seeds in points] for name in (key, "validation"))
    return x, y


def draw_epochs(axes: Axes, rows: Sequence[Row]) -> None:
    """Draw validation accuracy over the epochs, by regime and partition, a mark a round."""
    for name, (wanted, colour, dash) in CURVES.items():
        for outcome in outcomes(rows, **{**PLAIN, **wanted}):
            x, y = mean_curve(outcome, "round")
            # The untouched model guesses: with it in view, the lines would share a tenth of the axis.
            epochs = [number * outcome.rows[0]["epochs_per_round"] for number in x[1:]]
            axes.plot(epochs, y[1:], dash, marker="o", markersize=4, color=colour, linewidth=2, label=name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    finish(axes, "Validation accuracy over epochs", "epochs")


def draw_bytes(axes: Axes, rows: Sequence[Row]) -> None:
    """Draw validation accuracy against what an envoy has sent, for each way to tune, of two equal shards."""
    for tuning, colour in TUNING_COLOURS.items():
        for outcome in outcomes(rows, **{**PLAIN, **_TWO_EQUAL, "tuning": tuning}):
            x, y = mean_curve(outcome, "bytes")
            # Nothing is sent for the untouched model, and the axis is logarithmic.
            megabytes = [value / 1e6 for value in x[1:]]
            axes.plot(megabytes, y[1:], "o-", markersize=4, color=colour, linewidth=2, label=tuning)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    finish(axes, "… against bytes sent", "MB sent by an envoy")


def draw_classes(axes: Axes, rows: Sequence[Row]) -> None:
    """Draw the accuracy on each class, the classes ordered by the centralised model's."""
    picked = {
        name: found[0]
        for name, (wanted, _, dash) in CURVES.items()
        if dash == "-" and (found := outcomes(rows, **{**PLAIN, **wanted}))
    }
    if not picked:
        return finish(axes, "Test accuracy by class", "")
    means = {name: _class_means(outcome) for name, outcome in picked.items()}
    first = next(iter(means.values()))
    classes = sorted(first, key=lambda label: -first[label])
    for place, (name, values) in enumerate(means.items()):
        shift = (place - (len(means) - 1) / 2) * 0.16
        heights = [values[label] for label in classes]
        axes.plot(
            np.arange(len(classes)) + shift, heights, "o", color=CURVES[name][1], markersize=5, label=name
        )
    axes.set_xticks(range(len(classes)), [c.strip("_") for c in classes], rotation=45, ha="right", color=INK)
    for number in range(0, len(classes), 2):
        axes.axvspan(number - 0.5, number + 0.5, color="#f3f4f6", zorder=0, linewidth=0)
    axes.set_xlim(-0.5, len(classes) - 0.5)
    finish(axes, "Test accuracy by class", "")


def _class_means(outcome: Outcome) -> dict[str, float]:
    labels = outcome.rows[0]["classes"]
    return {label: float(np.mean([row["classes"][label] for row in outcome.rows])) for label in labels}


def envoy_scores(rows: Sequence[Row], partition: str, envoys: int) -> dict[str, dict[str, list[float]]]:
    """Return each envoy's `global`, `personalised` and `local` accuracy on its own test clips, of each seed.

    With them come its numbers of clips, `train_clips` and `test_clips`.
    """
    seen: dict[str, dict[str, list[float]]] = {}
    for outcome in outcomes(rows, **PLAIN, partition=partition, envoys=envoys):
        for row in outcome.rows:
            for name, scores in row["envoy_scores"].items():
                for key, value in scores.items():
                    seen.setdefault(name, {}).setdefault(key, []).append(value)
    return seen


def draw_envoys(axes: Axes, rows: Sequence[Row]) -> None:
    """Draw, for each envoy of three federations, its accuracy alone, with the federated and its own model."""
    kinds = {"local": ("trained alone", GREY, "s"), "global": ("federated model", BLUE, "o")}
    kinds["personalised"] = ("the model that it keeps", ORANGE, "^")
    place, ticks, groups = 0.0, [], []
    for partition, envoys in FEDERATIONS:
        scores = envoy_scores(rows, partition, envoys)
        start = place
        for name in [each for rank in range(1, envoys + 1) if (each := envoy_name(rank)) in scores]:
            for key, (label, colour, marker) in kinds.items():
                if key in scores[name]:
                    mean = statistics.fmean(scores[name][key])
                    axes.plot(place, mean, marker, color=colour, markersize=7, label=label)
            ticks.append((place, name.removeprefix("env_")))
            place += 1
        if scores:
            groups.append(((start + place - 1) / 2, partition))
            place += 0.6
    axes.set_xticks([x for x, _ in ticks], [name for _, name in ticks], color=INK, fontsize=8)
    for x, partition in groups:
        axes.annotate(
            partition, (x, 1.0), xycoords=("data", "axes fraction"), ha="center", color=GREY, fontsize=9
        )
    finish(axes, "Each envoy's own test clips", "")


def draw_strategies(axes: Axes, rows: Sequence[Row]) -> None:
    """Draw each strategy's accuracy on skewed shards, and with equal shards clean and with garbage.

    A bar is one standard deviation each way.
    """
    series: Mapping[str, tuple[dict[str, Any], str]] = {
        "4 dirichlet": ({"partition": "dirichlet", "garbage": 0}, ORANGE),
        "4 iid": ({"partition": "iid", "envoys": 4, "garbage": 0}, BLUE),
        "4 iid, one sends noise": ({"partition": "iid", "envoys": 4, "garbage": 1}, INK),
    }
    found = {
        name: outcomes(rows, data="real", regime="federated", tuning="full", strategy=COMPARED, **wanted)
        for name, (wanted, _) in series.items()
    }
    best = max((outcome.mean for each in found.values() for outcome in each), default=0.0)
    for offset, (name, each) in enumerate(found.items()):
        for outcome in each:
            x = COMPARED.index(outcome.conditions["strategy"]) + (offset - 1) * 0.26
            _draw_strategy(axes, x, outcome, series[name][1], name, above=offset == 1, low=best - _FAR)
    axes.set_xticks(range(len(COMPARED)), COMPARED, color=INK, fontsize=9)
    axes.set_xlim(-0.6, len(COMPARED) - 0.4)
    finish(axes, "Strategies", "bar: standard deviation over the seeds")


def _draw_strategy(
    axes: Axes, x: float, outcome: Outcome, colour: str, name: str, above: bool, low: float
) -> None:
    """Draw a mean with its number above or below it; one under `low` as an arrow at the lower end."""
    text: dict[str, Any] = dict(textcoords="offset points", ha="center", color=colour, fontsize=8)
    look: dict[str, Any] = dict(color=colour, markersize=5, elinewidth=1.5, label=name)
    number = f"{100 * outcome.mean:.1f}"
    if outcome.mean < low:
        edge = axes.get_xaxis_transform()
        axes.errorbar(x, 0.03, fmt="v", transform=edge, **look)
        axes.annotate(number, (x, 0.03), (0, 6), xycoords=edge, **text)
        return
    spread = outcome.spread or 0.0  # of a single seed, no bar
    axes.errorbar(x, outcome.mean, spread, fmt="o", **look)
    place, way = (outcome.mean + spread, (0, 5)) if above else (outcome.mean - spread, (0, -13))
    axes.annotate(number, (x, place), way, **text)


def finish(axes: Axes, title: str, label: str) -> None:
    """Give a panel its title, its axes and a legend of each name once, below it.

    The axis begins a little below the data: dots and lines are told apart better without the zero.
    """
    if not axes.has_data():
        axes.set_title(f"{title}: no rows yet")
        axes.set_axis_off()
        return
    lowest = max(0.0, np.floor(10 * (axes.dataLim.y0 - 0.02)) / 10)
    axes.set(title=title, xlabel=label, ylim=(lowest, 1.04 - 0.04 * lowest))
    axes.yaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10]))  # whole percents
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.grid(True, axis="y")
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    axes.legend(
        once.values(),
        once.keys(),
        loc="upper center",
        bbox_to_anchor=(0.5, -0.16),
        ncols=2 if len(once) > 3 else len(once) or 1,
        columnspacing=1.2,
        handlelength=3.0,  # a dash is seen
        frameon=False,
        fontsize=9,
    )
