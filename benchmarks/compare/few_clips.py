"""The learning curve over few clips: what pretraining and federating are worth when recordings are scarce."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from benchmarks.compare.panels import finish
from benchmarks.compare.plan import SHARES
from benchmarks.compare.plots import publish
from superb_notebook.plots import BLUE, ORANGE, style
from superb_notebook.results import PLAIN, Outcome, Row, outcomes

_CENTRALISED: dict[str, Any] = {"regime": "centralised"}
_FEDERATED: dict[str, Any] = {"regime": "federated", "partition": "speaker", "envoys": 4}
LINES: dict[str, tuple[dict[str, Any], str, str]] = {
    "tiny, centralised": ({"model": "tiny", **_CENTRALISED}, BLUE, "-"),
    "tiny, 4 speaker": ({"model": "tiny", **_FEDERATED}, BLUE, "--"),
    "scratch, centralised": ({"model": "scratch", **_CENTRALISED}, ORANGE, "-"),
    "scratch, 4 speaker": ({"model": "scratch", **_FEDERATED}, ORANGE, "--"),
}


def few_clips(rows: Sequence[Row]) -> dict[str, dict[float, Outcome]]:
    """Return each line's outcomes by share, the smallest first; no line if no row is of few clips."""
    if not outcomes(rows, share=SHARES[:-1]):
        return {}
    found = {
        name: {o.conditions["share"]: o for o in outcomes(rows, **{**PLAIN, **wanted, "share": SHARES})}
        for name, (wanted, _, _) in LINES.items()
    }
    return {name: dict(sorted(line.items())) for name, line in found.items()}


def draw_few_clips(axes: Axes, rows: Sequence[Row]) -> None:
    """Draw test accuracy over the share of the training clips; a bar is one standard deviation each way."""
    for place, (name, line) in enumerate(few_clips(rows).items()):
        _, colour, dash = LINES[name]
        # A little apart, so that bars do not cover each other.
        shares = [share * 1.025 ** (place - (len(LINES) - 1) / 2) for share in line]
        means = [outcome.mean for outcome in line.values()]
        spreads = [outcome.spread or 0.0 for outcome in line.values()]  # of a single seed, no bar
        look: dict[str, Any] = dict(color=colour, markersize=4, linewidth=2, elinewidth=1.5)
        axes.errorbar(shares, means, spreads, fmt="o" + dash, label=name, **look)
    axes.set_xscale("log")
    axes.set_xticks(SHARES, [f"{share:.0%}" for share in SHARES])
    axes.xaxis.set_minor_locator(NullLocator())
    finish(axes, "Test accuracy over training clips", "share of the training clips")


def save_few_clips(rows: Sequence[Row], path: Path) -> None:
    """Draw the curve and publish the image atomically."""
    with style():
        figure = Figure(figsize=(7.2, 5.0), layout="constrained")
        axes = figure.subplots()
        draw_few_clips(axes, rows)
        axes.spines["left"].set_visible(False)
        publish(figure, path)
