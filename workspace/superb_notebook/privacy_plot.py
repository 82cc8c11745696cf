"""The price of differential privacy, as `python -m benchmarks.privacy` or a notebook has measured it.

What was measured: `delta`; `accuracy_not_private`, and, if it is known, `accuracy_clipped`, which is without
noise; `rows`, each with `envoys`, `noise_multiplier`, `epsilon` and `test_accuracy`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from superb_notebook.experiment_plots import plot_nothing
from superb_notebook.plots import FIGURE_INCHES, GREY, INK, envoy_colours, style
from superb_notebook.tables import Table

Measured = Mapping[str, Any]


def load_privacy(path: Path) -> dict[str, Any] | None:
    """Return what was measured; None without a file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def privacy_table(measured: Measured | None, who: str = "envoys") -> Table:
    """Return one row for each noise: epsilon after all rounds, and test accuracy by number of envoys.

    Args:
        measured: see above.
        who: what envoys are called.
    """
    if measured is None:
        return Table(["not measured"], [])
    envoys, noises = _envoys(measured), _noises(measured)
    cells = {(row["noise_multiplier"], row["envoys"]): row for row in measured["rows"]}
    rows = [
        [
            f"{noise:g}",
            f"{cells[noise, envoys[0]]['epsilon']:.1f}",
            *(f"{cells[noise, count]['test_accuracy']:.1%}" for count in envoys),
        ]
        for noise in noises
    ]
    header = ["noise multiplier", "epsilon", *(f"{count:,} {who}" for count in envoys)]
    if "accuracy_clipped" in measured:
        rows.insert(0, ["0", "∞", *[f"{measured['accuracy_clipped']:.1%}"] * len(envoys)])
    return Table(header, rows)


def plot_privacy(measured: Measured | None, who: str = "envoys") -> Figure:
    """Draw test accuracy over the spent epsilon, a line for each number of envoys.

    Args:
        measured: see above.
        who: what envoys are called.
    """
    if measured is None:
        return plot_nothing("There are no results here; python -m benchmarks.privacy makes them.")
    envoys = _envoys(measured)
    colours = envoy_colours(map(str, envoys))
    with style():
        figure = Figure(figsize=(FIGURE_INCHES, 3.8), layout="constrained")
        axes = figure.subplots()
        for height, words in (
            ("accuracy_not_private", "not private"),
            ("accuracy_clipped", "clipped, no noise"),
        ):
            if height in measured:
                dash = "-" if height == "accuracy_not_private" else ":"
                axes.axhline(measured[height], color=GREY, linewidth=1.2, linestyle=dash, label=words)
        for count in envoys:
            points = sorted(
                (row["epsilon"], row["test_accuracy"]) for row in measured["rows"] if row["envoys"] == count
            )
            axes.plot(
                *zip(*points, strict=True),
                "o-",
                color=colours[str(count)],
                linewidth=2.4,
                label=f"{count:,} {who}",
            )
        # Strong privacy is small: it stands on the right, where the price is paid.
        axes.set(xscale="log", ylim=(0, 1.03), xlabel=f"epsilon spent, delta {measured['delta']:g}")
        axes.invert_xaxis()
        ticks = sorted({row["epsilon"] for row in measured["rows"]})
        axes.set_xticks(ticks, [f"{tick:.1f}" for tick in ticks], color=INK)
        axes.set_xticks([], minor=True)
        axes.set_title("Test accuracy")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.grid(True, axis="y")
        axes.spines["left"].set_visible(False)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, labelcolor="linecolor")
        return figure


def _envoys(measured: Measured) -> list[int]:
    return sorted({row["envoys"] for row in measured["rows"]})


def _noises(measured: Measured) -> list[float]:
    return sorted({row["noise_multiplier"] for row in measured["rows"]})
