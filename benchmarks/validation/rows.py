"""What was measured, a row for each trial, seed and fold, and the table of it."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.compare.plan import shipped_weights
from benchmarks.compare.results import OWN, ROOT, load_rows, write_rows
from benchmarks.transport.result import now
from benchmarks.validation.trial import Trial
from superb_ks.recipe import recipe_in_words
from tests.support.machine import machine

RESULTS = ROOT / "benchmarks" / "results" / "validation.json"
"""The rows that the project's pages show: all of one archive."""

Key = tuple[str, int, int]
"""Trial, seed and fold."""


def results_file(data: Sequence[int]) -> Path:
    """Return the file of the rows of an archive, by its numbers of training and of test clips."""
    rows = load_rows(RESULTS)
    if not rows or rows[0]["data"] == list(data):
        return RESULTS
    return OWN / "validation-{}-{}.json".format(*data)


def key(row: Mapping[str, Any]) -> Key:
    """Return what tells a row from others."""
    return row["trial"], row["seed"], row["fold"]


def training(trial: Trial) -> dict[str, Any]:
    """Return from which weights a trial starts, and how it trains; rows that differ in this do not mix."""
    choices = trial.settings.to_dict()
    if trial.partition is None:  # the settings have a strategy all the same
        del choices["strategy"]
    recipe = recipe_in_words(vars(trial.settings.complete_recipe), choices)
    weights = shipped_weights(trial.settings.model)
    return {"checkpoint": weights, "recipe": recipe, "rounds": trial.settings.rounds}


def keep(path: Path, trial: Trial, seed: int, fold: int, score: tuple[float, int], **measured: Any) -> None:
    """Put a row into the file, in the place of an earlier one of the same trial, seed and fold.

    Rows of the trial that started from other weights, or trained otherwise, go.

    Args:
        path: of the file.
        trial: what was tried.
        seed: and
        fold: of the training.
        score: accuracy, and the number of clips that it is of.
        measured: further entries, such as the `commit`.
    """
    accuracy, clips = score
    named = {"trial": trial.text, "base": trial.base, "seed": seed, "fold": fold}
    row = {**named, "accuracy": round(accuracy, 4), "clips": clips, **training(trial)}
    row |= {**measured, "date": now(), "machine": machine()}
    others = [
        old
        for old in load_rows(path)
        if old["trial"] != trial.text or (_trained_alike(old, row) and key(old) != key(row))
    ]
    write_rows(sorted([*others, row], key=key), path)


def _trained_alike(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Say whether two rows of a trial are of the same weights and recipe."""
    return all(old[name] == new[name] for name in ("checkpoint", "recipe", "rounds"))


def done(rows: Iterable[Mapping[str, Any]], trial: Trial) -> set[Key]:
    """Return the keys of a trial's rows that are of the present weights and recipe."""
    wanted = training(trial)
    return {key(row) for row in rows if row["trial"] == trial.text and _trained_alike(row, wanted)}


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the trials in the order in which they are named, each beside the one that it changes.

    The error of a difference is too small: the folds share training clips.
    """
    accuracies: dict[str, dict[tuple[int, int], Mapping[str, Any]]] = {}
    for row in rows:
        accuracies.setdefault(row["trial"], {})[row["seed"], row["fold"]] = row
    lines = ["| trial | accuracy | points against its base | trainings |", "|---|---|---|---|"]
    for text in accuracies:
        own = accuracies[text]
        base = accuracies.get(next(iter(own.values()))["base"], {})
        mean = statistics.fmean(row["accuracy"] for row in own.values())
        lines.append(
            f"| `{text}` | {mean:.1%} | {_against(own, base) if own is not base else ''} | {len(own)} |"
        )
    return "\n".join(lines)


def _against(own: Mapping[Any, Mapping[str, Any]], base: Mapping[Any, Mapping[str, Any]]) -> str:
    """Return the mean difference and its standard error, over the seeds and folds that both have."""
    gains = [
        100 * (row["accuracy"] - base[pair]["accuracy"])
        for pair, row in own.items()
        if pair in base and base[pair]["checkpoint"] == row["checkpoint"]
    ]
    if not gains:
        return ""
    if len(gains) == 1:
        return f"{gains[0]:+.1f}"
    return f"{statistics.fmean(gains):+.1f} ± {statistics.stdev(gains) / len(gains) ** 0.5:.1f}"
