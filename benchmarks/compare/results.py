"""The rows of the comparison: what is in one, where they are kept, which of them a run can do without."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.compare.plan import Job
from benchmarks.transport.result import now, rounded
from superb_node.work_folder import replace_file
from tests.support.machine import machine

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "compare.json"
QUICK_RESULTS = ROOT / "build" / "compare-quick.json"
"""Of the quick form: those of the project stay as they are."""

PASSES = ("first_pass_seconds", "later_pass_seconds")
"""What the training of a head says about its time, in seconds: of the pass that computes the clips' hidden
states, and of one that finds them computed.
"""

ENTRIES = (
    *"data partition envoys tuning strategy seed regime test_accuracy bytes seconds".split(),
    *"model checkpoint recipe garbage share rounds epochs_per_round clips_seen best_round".split(),
    *"validation_accuracy test_clips".split(),
    *PASSES,
    *"curve classes envoy_scores date commit machine".split(),
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
    pass_seconds: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Return the row of a finished run.

    Args:
        job: what was run.
        curve: a point for the untouched model and one for each round: `round`, `validation` accuracy,
            `bytes` that one envoy has sent so far, and `seconds` since the start.
        best_round: the one with the highest validation accuracy, whose model the test scores are of; None for
            the local regime, where each envoy has its own.
        validation_accuracy: in that round; of the local regime the mean over envoys, by training clips.
        test_accuracy: on the common test clips, likewise.
        test_clips: how many those are.
        classes: the accuracy on the test clips of each class.
        clips_seen: clips that went through training, each counted as often as it did.
        envoy_scores: by envoy, its clips and the accuracies of models on its own test clips.
        pass_seconds: of a tuned head, those of `PASSES` that are known.
    """
    values = {
        **{key: getattr(job, key) for key in ENTRIES if hasattr(job, key)},
        "test_accuracy": test_accuracy,
        "test_clips": test_clips,
        "validation_accuracy": validation_accuracy,
        "bytes": int(curve[-1]["bytes"]),
        "seconds": curve[-1]["seconds"],
        "rounds": job.work.rounds,
        "epochs_per_round": job.settings().complete_recipe.epochs_per_round,
        "clips_seen": clips_seen,
        **{key: (pass_seconds or {}).get(key) for key in PASSES},
        "best_round": best_round,
        "curve": [dict(point) for point in curve],
        "classes": dict(classes),
        "envoy_scores": {name: dict(scores) for name, scores in envoy_scores.items()},
        "date": now(),
        "commit": commit(),
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

    Results do not count: each row changes them.
    """
    git = ["git", "-C", str(ROOT)]
    status = ["status", "--porcelain", "-uno", "--", ".", ":(exclude)benchmarks/results"]
    try:
        head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
        changed = subprocess.run([*git, *status], capture_output=True, text=True)
    except OSError:
        return ""
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def load_rows(path: Path = RESULTS) -> list[dict[str, Any]]:
    """Return the rows so far; none without a file."""
    return json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []


def keep_row(new: dict[str, Any], path: Path = RESULTS) -> None:
    """Put a row into the file, in the place of an earlier one of the same run; nobody sees half of it.

    Rows of its other seeds stay if they are of the same checkpoint, recipe and rounds: a mean over seeds
    that were run on different models would be of neither.
    """
    rows = [old for old in load_rows(path) if not _replaces(new, old)]
    rows = sorted([*rows, rounded(new)], key=lambda item: tuple(map(str, identity(item))))
    path.parent.mkdir(parents=True, exist_ok=True)
    # A row a line: a run that is repeated changes the lines of its own.
    lines = ",\n".join(json.dumps(item) for item in rows)
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
    wanted = (job.checkpoint, job.recipe, job.work.rounds)
    return any(identity(row) == job.identity and training(row) == wanted for row in rows)
