"""The table of what each strategy survives, in Markdown."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from benchmarks.attacks.attacks import ATTACKS
from benchmarks.attacks.federation import COLUMNS

RESULTS = Path(__file__).resolve().parents[1] / "results" / "attacks.json"

MARGIN = 0.05
"""A strategy survives an attack if its mean accuracy is at most so far below what it is without one."""


def load() -> dict[str, Any]:
    """Return what was measured."""
    measured: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
    return measured


def mean_accuracies(measured: dict[str, Any]) -> dict[tuple[str, str, int], float]:
    """Return the mean over the seeds by column, attack and number of liars (0 for no attack)."""
    return {
        (row["column"], row["attack"], row["liars"]): statistics.fmean(row["accuracies"])
        for row in measured["rows"]
    }


def survives(means: dict[tuple[str, str, int], float], column: str, attack: str, liars: int) -> bool:
    """Say whether the attack costs no more than `MARGIN`."""
    return means[column, attack, liars] >= means[column, "none", 0] - MARGIN


def table(measured: dict[str, Any]) -> str:
    """Return a row for each attack and a column for each strategy; in a cell, one and two liars."""
    means = mean_accuracies(measured)
    lines = [f"| attack | {' | '.join(COLUMNS)} |", "|---" * (1 + len(COLUMNS)) + "|"]
    for name, attack in ATTACKS.items():
        cells = []
        for column in COLUMNS:
            numbers = (0,) if name == "none" else (1, 2)
            shown = [
                f"{means[column, name, liars]:.0%}"
                if survives(means, column, name, liars)
                else f"**{means[column, name, liars]:.0%}**"
                for liars in numbers
            ]
            cells.append(", ".join(shown))
        lines.append(f"| {attack.title} | {' | '.join(cells)} |")
    return "\n".join(lines)
