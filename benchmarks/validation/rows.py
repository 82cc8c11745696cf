"""What was measured, a row for each trial, seed and fold, and the table of it."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.compare.plan import shipped_weights
from benchmarks.compare.results import commit
from benchmarks.transport.result import now
from benchmarks.validation.trial import Trial, parse
from superb_ks.recipe import recipe_in_words
from superb_node.work_folder import replace_file
from tests.support.machine import machine

RESULTS = Path(__file__).resolve().parents[1] / "results" / "validation.json"

Key = tuple[str, int, int]
"""Trial, seed and fold."""


def load(path: Path) -> list[dict[str, Any]]:
    """Return the rows so far; none without a file."""
    return json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []


def key(row: Mapping[str, Any]) -> Key:
    """Return what tells a row from others."""
    return row["trial"], row["seed"], row["fold"]


def training(trial: Trial) -> dict[str, Any]:
    """Return from which weights a trial starts, and how it trains; rows that differ in this do not mix."""
    choices = trial.settings.to_dict()
    if trial.partition is None:  # the settings have a strategy all the same
        del choices["strategy"]
    recipe = recipe_in_words(vars(trial.settings.complete_recipe), choices)
    return {"checkpoint": shipped_weights(trial.settings.model), "recipe": recipe}


def keep(path: Path, trial: Trial, seed: int, fold: int, accuracy: float, clips: int) -> None:
    """Put a row into the file, in the place of an earlier one of the same trial, seed and fold."""
    named = {"trial": trial.text, "seed": seed, "fold": fold}
    row = {**named, "accuracy": round(accuracy, 4), "clips": clips, **training(trial)}
    row |= {"date": now(), "commit": commit(), "machine": machine()}
    rows = sorted([*(old for old in load(path) if key(old) != key(row)), row], key=key)
    lines = ",\n".join(map(json.dumps, rows))
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, f'{{"rows": [\n{lines}\n]}}\n'.encode())


def done(rows: Iterable[Mapping[str, Any]], trial: Trial) -> set[Key]:
    """Return the keys of a trial's rows that are of the present weights and recipe."""
    wanted = training(trial)
    return {
        key(row)
        for row in rows
        if row["trial"] == trial.text and all(row[name] == value for name, value in wanted.items())
    }


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the trials in the order in which they are named, each beside the one that it changes."""
    accuracies: dict[str, dict[tuple[int, int], Mapping[str, Any]]] = {}
    for row in rows:
        accuracies.setdefault(row["trial"], {})[row["seed"], row["fold"]] = row
    lines = ["| trial | accuracy | points against the first | trainings |", "|---|---|---|---|"]
    for text in accuracies:
        own, base = accuracies[text], accuracies.get(parse(text).base, {})
        clips = sum(row["clips"] for row in own.values())
        mean = sum(row["accuracy"] * row["clips"] for row in own.values()) / clips
        lines.append(
            f"| `{text}` | {mean:.1%} | {_against(own, base) if own is not base else ''} | {len(own)} |"
        )
    return "\n".join(lines)


def _against(own: Mapping[Any, Mapping[str, Any]], base: Mapping[Any, Mapping[str, Any]]) -> str:
    """Return the mean difference and its standard error, over the seeds and folds that both have."""
    gains = [100 * (own[pair]["accuracy"] - base[pair]["accuracy"]) for pair in own if pair in base]
    if not gains:
        return ""
    if len(gains) == 1:
        return f"{gains[0]:+.1f}"
    return f"{statistics.fmean(gains):+.1f} ± {statistics.stdev(gains) / len(gains) ** 0.5:.1f}"
