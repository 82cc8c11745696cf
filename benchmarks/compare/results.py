"""The rows of the comparison: what is in one, where they are kept, which of them a run can do without."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.compare.data import Archives
from benchmarks.compare.plan import CENTRALISED, REAL, SYNTHETIC, Job, plan
from benchmarks.transport.result import now, rounded
from superb_node.errors import DataError
from superb_node.work_folder import replace_file
from tests.support.machine import machine

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "compare.json"
"""The rows that the project's pages show."""
OWN = ROOT / "benchmarks" / "results" / "own"
"""Where rows of other clips and of the quick form go; git ignores it."""

ENTRIES = (
    *"data partition envoys tuning strategy seed regime test_accuracy bytes".split(),
    *"model checkpoint recipe garbage share rounds epochs_per_round clips_seen best_round".split(),
    *"validation_accuracy test_clips curve classes envoy_scores date machine".split(),
)
"""Of a row, in the order in which they are written."""


def row(
    job: Job,
    *,
    curve: Sequence[Mapping[str, float]],
    best_round: int | None,
    validation_accuracy: float,
    test_accuracy: float,
    test_clips: int,
    classes: Mapping[str, float],
    clips_seen: int,
    envoy_scores: Mapping[str, Mapping[str, float]],
) -> dict[str, Any]:
    """Return the row of a finished run.

    Args:
        job: what was run.
        curve: a point for the untouched model and one for each round: `round`, `validation` accuracy and the
            `bytes` that one envoy has sent so far.
        best_round: the one with the highest validation accuracy, whose model the test scores are of; None for
            the local regime, where each envoy has its own.
        validation_accuracy: in that round; of the local regime the mean over envoys, by training clips.
        test_accuracy: on the common test clips, likewise.
        test_clips: how many those are.
        classes: the accuracy on the test clips of each class.
        clips_seen: clips that went through training, each counted as often as it did.
        envoy_scores: by envoy, its clips and the accuracies of models on its own test clips.
    """
    values = {
        **{key: getattr(job, key) for key in ENTRIES if hasattr(job, key)},
        "test_accuracy": test_accuracy,
        "test_clips": test_clips,
        "validation_accuracy": validation_accuracy,
        "bytes": int(curve[-1]["bytes"]),
        "rounds": job.work.rounds,
        "epochs_per_round": job.settings().complete_recipe.epochs_per_round,
        "clips_seen": clips_seen,
        "best_round": best_round,
        "curve": [dict(point) for point in curve],
        "classes": dict(classes),
        "envoy_scores": {name: dict(scores) for name, scores in envoy_scores.items()},
        "date": now(),
        "machine": machine(),
    }
    return {key: values[key] for key in ENTRIES}


def class_accuracies(confusion: NDArray[np.int64], labels: Sequence[str]) -> dict[str, float]:
    """Return the share of each class that was classified correctly.

    Args:
        confusion: counts, true classes in rows, shape [n_classes, n_classes].
        labels: class names in the order of their ids.
    """
    shares = np.diag(confusion) / np.maximum(confusion.sum(axis=1), 1)
    return dict(zip(labels, shares.tolist(), strict=True))


def commit() -> str:
    """Return the commit that is checked out, with a "+" behind it if files differ from it; "" without git.

    Results do not count: each row changes them. Whoever measures asks at the start: that is the code that
    runs, whatever is checked out later.
    """
    git = ["git", "-C", str(ROOT)]
    status = ["status", "--porcelain", "-uno", "--", ".", ":(exclude)benchmarks/results"]
    try:
        head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
        changed = subprocess.run([*git, *status], capture_output=True, text=True)
    except OSError:
        return ""
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def results_file(archives: Archives | None, quick: bool = False) -> Path:
    """Return the file of the rows: that of the pages is for the whole comparison on the project's own sample.

    Without real speech it is another one. Two archives with as many training and test clips are the same.
    """
    if archives and not quick and _clips(load_rows(RESULTS)) in (None, archives.clips):
        return RESULTS
    clips = SYNTHETIC if archives is None else "{}-{}".format(*archives.clips)
    return OWN / f"compare-{'quick-' if quick else ''}{clips}.json"


def _clips(rows: Sequence[Mapping[str, Any]]) -> tuple[int, int] | None:
    """Return how many training and test clips of real speech rows are of; None if there is none to tell."""
    for row in rows:
        if (row["data"], row["regime"], row.get("share", 1.0)) == (REAL, CENTRALISED, 1.0):
            return row["clips_seen"] // (row["rounds"] * row["epochs_per_round"]), row["test_clips"]
    return None


def load_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows so far; none without a file.

    Raises:
        DataError: there is something else.
    """
    try:
        return list(json.loads(path.read_text(encoding="utf-8"))["rows"]) if path.exists() else []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is no file of rows: {type(error).__name__}: {error}") from error


def ready_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows so far of a file that can be written: nobody wants to learn that hours later.

    Raises:
        DataError: it cannot, or it has something else.
    """
    rows = load_rows(path)
    try:
        write_rows(rows, path)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error}") from error
    return rows


def keep_row(new: Mapping[str, Any], path: Path) -> None:
    """Put a row into the file, in the place of an earlier one of the same run.

    Rows of its other seeds stay if they are of the same checkpoint, recipe and rounds: a mean over seeds
    that were run on different models would be of neither.
    """
    rows = [old for old in load_rows(path) if not _replaces(new, old)]
    write_rows(sorted([*rows, rounded(new)], key=lambda item: tuple(map(str, identity(item)))), path)


def write_rows(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write all rows of a file, and its folder; nobody sees half of them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # A row a line: a run that is repeated changes the lines of its own.
    lines = ",\n".join(map(json.dumps, rows))
    replace_file(path, f'{{"rows": [\n{lines}\n]}}\n'.encode())


def _replaces(new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    """Say whether an old row is of the same run as a new one, or of another seed and trained otherwise."""
    if identity(new)[:-1] != identity(old)[:-1]:
        return False
    return bool(new["seed"] == old["seed"]) or training(new) != training(old)


def identity(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what tells a row from those of other runs, in the order of `Job.identity`: the seed last."""
    keys = "data regime partition envoys tuning strategy model garbage share seed".split()
    entries = {"share": 1.0, **row}  # older rows do not have it: they are of all clips
    return tuple(entries[key] for key in keys)


def training(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return from which weights, how and how long a row's model was trained; the recipe has the epochs."""
    return row.get("checkpoint"), row.get("recipe"), row["rounds"]


def is_done(job: Job, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Say whether a row of this run is there, from the same weights and by the same recipe, as it is now."""
    return any(identity(row) == job.identity and training(row) == _wanted(job) for row in rows)


def present_rows(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out rows from other weights or by another recipe than runs have now: a table would mix them."""
    wanted = {job.identity[:-1]: _wanted(job) for job in plan([0])}
    return [row for row in rows if wanted.get(identity(row)[:-1]) == training(row)]


def _wanted(job: Job) -> tuple[Any, ...]:
    """Return what `training` gives for a row of this run."""
    return job.checkpoint, job.recipe, job.work.rounds
