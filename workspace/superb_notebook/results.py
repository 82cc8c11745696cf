"""The comparison of regimes that `make compare` leaves: read, summed up over seeds, as a table and a plot."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from superb_notebook.experiment_plots import plot_nothing
from superb_notebook.plots import BLUE, FIGURE_INCHES, GREY, INK, ORANGE, style
from superb_notebook.tables import Table

Row = Mapping[str, Any]

REGIMES = {
    "centralised": "all recordings in one place",
    "federated": "federated",
    "local": "each envoy alone",
}
"""The regimes in the order in which they are shown, in words."""

PLAIN: dict[str, Any] = dict(data="real", model="tiny", tuning="full", garbage=0, strategy=("fedavg", None))
"""What rows have unless something else is asked for: tiny model, `full`, real speech, FedAvg."""

_CONDITIONS = tuple("data model regime partition envoys tuning strategy garbage share rounds".split())


@dataclass(frozen=True)
class Outcome:
    """What several seeds of one run came to.

    Attributes:
        conditions: what the rows agree on: data, model, regime, partition, envoys, tuning, strategy, garbage,
            share, rounds.
        accuracies: test accuracy of each seed, in [0, 1].
        rows: the rows themselves.
    """

    conditions: Mapping[str, Any]
    accuracies: tuple[float, ...]
    rows: tuple[Row, ...]

    @property
    def mean(self) -> float:
        """Mean test accuracy over the seeds."""
        return statistics.fmean(self.accuracies)

    @property
    def spread(self) -> float | None:
        """Standard deviation over the seeds (of a sample, n - 1), or None of a single one."""
        return statistics.stdev(self.accuracies) if len(self.accuracies) > 1 else None

    def mean_of(self, key: str) -> float:
        """Mean of an entry of the rows, such as "bytes"."""
        return statistics.fmean(row[key] for row in self.rows)

    def __str__(self) -> str:
        """Return the mean in percent, with the spread if there is one."""
        spread = "" if self.spread is None else f" ± {100 * self.spread:.1f}"
        return f"{100 * self.mean:.1f}{spread} %"


def load_comparison(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a results file of `make compare` that belong together; none without a file."""
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []
    return of_one_model(rows)


def of_one_model(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out rows of an older tiny model than the newest row's: a table of both would compare models.

    Rows that are not of the tiny model stay; they have no checkpoint.
    """
    pretrained = [row for row in rows if row["checkpoint"] is not None]
    if not pretrained:
        return rows
    newest = max(pretrained, key=lambda row: str(row["date"]))["checkpoint"]
    return [row for row in rows if row["checkpoint"] in (None, newest)]


def outcomes(rows: Iterable[Row], **conditions: Any) -> list[Outcome]:
    """Group rows that differ in their seed only.

    Args:
        rows: of the results file.
        conditions: entries that the rows must have, such as `data="real"`; a tuple lists alternatives.
            `share` is 1.0 unless it is named; older rows lack it, and were trained on all clips too.
    """
    groups: dict[tuple[Any, ...], list[Row]] = {}
    conditions = {"share": 1.0, **conditions}
    for row in ({"share": 1.0, **each} for each in rows):
        if all(_is_one_of(row[key], wanted) for key, wanted in conditions.items()):
            groups.setdefault(tuple(row[key] for key in _CONDITIONS), []).append(row)
    return [
        Outcome(
            dict(zip(_CONDITIONS, values, strict=True)),
            tuple(row["test_accuracy"] for row in group),
            tuple(group),
        )
        for values, group in groups.items()
    ]


def _is_one_of(value: Any, wanted: Any) -> bool:
    return value in wanted if isinstance(wanted, tuple) else bool(value == wanted)


def regimes(rows: Iterable[Row]) -> list[Outcome]:
    """Return the outcomes that answer what federating costs, of `PLAIN` rows.

    The best comes from all recordings in one place, then the federations and those who stay alone.
    """
    shown = [
        item
        for item in outcomes(rows, **PLAIN)
        if (item.conditions["partition"], item.conditions["envoys"]) != ("iid", 4)
    ]
    return sorted(shown, key=lambda item: order_shown(item.conditions))


def order_shown(conditions: Mapping[str, Any]) -> tuple[int, int]:
    """Return what to sort by: regimes as they are shown, in each the partitions that skew least first."""
    partitions = ("pooled", "iid", "quantity", "speaker", "dirichlet")
    return list(REGIMES).index(conditions["regime"]), partitions.index(conditions["partition"])


def condition_in_words(conditions: Mapping[str, Any]) -> str:
    """Name a regime and its partition, such as "federated, 4 envoys, speaker"."""
    words = REGIMES[conditions["regime"]]
    if conditions["regime"] == "centralised":
        return words
    return f"{words}, {conditions['envoys']} envoys, {conditions['partition']}"


def regimes_table(rows: Iterable[Row]) -> Table:
    """Return one row for each regime: test accuracy, distance to the centralised one, traffic."""
    header = ["regime", "test accuracy", "points behind", "MB sent by an envoy", "seeds"]
    shown = regimes(rows)
    best = next((item.mean for item in shown if item.conditions["regime"] == "centralised"), None)
    lines = [
        [
            condition_in_words(item.conditions),
            str(item),
            "" if best is None or item.mean == best else f"{100 * (best - item.mean):.1f}",
            f"{item.mean_of('bytes') / 1e6:.1f}" if item.conditions["regime"] == "federated" else "–",
            str(len(item.rows)),
        ]
        for item in shown
    ]
    return Table(header, lines)


def regimes_in_words(rows: Iterable[Row]) -> str:
    """Return in a line for each regime what the comparison found, or that rows are missing."""
    by_name = {condition_in_words(item.conditions): item.mean for item in regimes(rows)}
    best = by_name.get(REGIMES["centralised"])
    federated = {name: mean for name, mean in by_name.items() if name.startswith(REGIMES["federated"])}
    alone = {name: mean for name, mean in by_name.items() if name.startswith(REGIMES["local"])}
    if best is None or not federated or not alone:
        return "The results file lacks rows of one of the three regimes: make compare DATA=… adds them."
    near, far = max(federated, key=federated.__getitem__), min(federated, key=federated.__getitem__)
    return (
        f"Collecting all recordings gives {best:.1%}.\n"
        f"Federating them gives {federated[near]:.1%} ({near.partition(', ')[2]}) "
        f"to {federated[far]:.1%} ({far.partition(', ')[2]}).\n"
        f"Training alone gives {min(alone.values()):.1%} to {max(alone.values()):.1%}."
    )


def plot_regimes(rows: Iterable[Row]) -> Figure:
    """Draw the test accuracy of each regime: a dot a seed, a bar for their mean."""
    shown = regimes(rows)[::-1]
    if not shown:
        return plot_nothing("There is no comparison here; make compare DATA=FOLDER measures it.")
    colours = dict(zip(REGIMES, (GREY, BLUE, ORANGE), strict=True))
    with style():
        figure = Figure(figsize=(FIGURE_INCHES, 0.9 + 0.38 * len(shown)), layout="constrained")
        axes = figure.subplots()
        for height, item in enumerate(shown):
            colour = colours[item.conditions["regime"]]
            axes.barh(height, item.mean, height=0.6, color=colour, alpha=0.35)
            axes.plot(item.accuracies, [height] * len(item.accuracies), "o", color=colour, markersize=5)
            axes.text(max(item.accuracies) + 0.012, height, str(item), va="center", color=INK, fontsize=9)
        axes.set_yticks(range(len(shown)), [condition_in_words(item.conditions) for item in shown], color=INK)
        axes.set(xlim=(0, 1.12), xlabel="test accuracy; a dot is a seed")
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1.0])
        axes.grid(True, axis="x")
        axes.grid(False, axis="y")
        axes.spines["left"].set_visible(False)
        return figure
