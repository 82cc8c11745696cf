"""What a run leaves behind: its folder, and `summary.json` for everything that measures."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from superb_notebook.history import History

logger = logging.getLogger(__name__)

SUMMARY = "summary.json"


def new_run_dir(runs: Path, now: datetime | None = None) -> Path:
    """Make and return a folder of this date and time in `runs`, with a number behind it if that is taken.

    Raises:
        OSError: it cannot be made there; the message says what to do.
    """
    try:
        runs.mkdir(parents=True, exist_ok=True)
        return _claimed(runs, now)
    except OSError as error:
        raise type(error)(
            f"no run can be saved in {runs} ({error.strerror}): make it a folder that can be written, "
            "or set RUN_DIR to one, and run this cell again"
        ) from error


def _claimed(runs: Path, now: datetime | None) -> Path:
    stem = f"{now or datetime.now():%Y%m%d-%H%M%S}"
    number = 1
    while True:
        folder = runs / (stem if number == 1 else f"{stem}-{number}")
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            number += 1


def point_latest_to(run_dir: Path) -> None:
    """Make the link `latest`, beside the run's folder, point to it, in one step; or say that it cannot."""
    latest = run_dir.parent / "latest"
    try:
        _point(latest, run_dir.name)
    except OSError as error:
        logger.warning(
            "%s does not point to this run (%s); is it a folder? Move it away", latest, error.strerror
        )


def _point(latest: Path, name: str) -> None:
    with tempfile.TemporaryDirectory(prefix=".latest-", dir=latest.parent) as beside:
        link = Path(beside) / "link"
        link.symlink_to(name)
        os.replace(link, latest)


def summarize(
    history: History,
    cards: Mapping[str, Mapping[str, Any]],
    *,
    model: str,
    tuning: str = "full",
    strategy: str = "fedavg",
    baseline: tuple[str, History] | None = None,
    model_dir: str,
    notebook: str,
) -> dict[str, Any]:
    """Gather the figures of a finished experiment.

    Args:
        history: all its records.
        cards: the shard cards of its envoys.
        model: as in the settings; of a folder, only the name is told.
        tuning: as in the settings.
        strategy: as in the settings.
        baseline: name and history of the model that was trained beside it, or None.
        model_dir: where the model was saved, relative to the run's folder.
        notebook: where the notebook is, relative to the run's folder.

    Raises:
        ValueError: the experiment is not finished.
    """
    results, initial, test = history.results(), history.initial_test, history.test
    if len(results) < history.rounds or initial is None or test is None:
        raise ValueError(
            f"the experiment is not finished: {len(results)} of {history.rounds} rounds are validated"
        )
    labels = next(iter(cards.values()))["labels"]
    return {
        "model": _model_name(model),
        "tuning": tuning,
        "strategy": strategy,
        "data": _common(_data_name(card) for card in cards.values()),
        "partition": _common(str(card["partition"]) for card in cards.values()),
        "envoys": len(history.envoys),
        "rounds": _rounds(history),
        "initial_test_accuracy": initial.accuracy,
        "test_accuracy": test.accuracy,
        "test_clips": test.clips,
        "confusion": history.confusion(len(labels)).tolist(),
        "bytes_up_per_envoy_round": history.bytes_up(),
        "baseline": None if baseline is None else _baseline(*baseline),
        "seconds_total": sum(result.seconds for result in results),
        "model_dir": model_dir,
        "notebook": notebook,
    }


def write_summary(run_dir: Path, summary: Mapping[str, Any]) -> Path:
    """Write `summary.json` into the run's folder so that nobody sees half of it; return its path."""
    path = run_dir / SUMMARY
    partial = path.with_name(f".{SUMMARY}.partial")
    partial.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    os.replace(partial, path)
    return path


def _rounds(history: History) -> list[dict[str, float | None]]:
    return [
        {
            "round": result.round,
            "train_loss": result.train_loss,
            "val_accuracy": result.validation.accuracy,
            "seconds": result.seconds,
            **({} if result.epsilon is None else {"epsilon": result.epsilon}),
        }
        for result in history.results()
    ]


def _baseline(model: str, history: History) -> dict[str, Any]:
    test = history.test
    if test is None:
        raise ValueError("the baseline's experiment is not finished: its best model was not tested")
    return {"model": _model_name(model), "rounds": _rounds(history), "test_accuracy": test.accuracy}


def _model_name(model: str) -> str:
    return Path(model).name if Path(model).is_dir() else model


def _data_name(card: Mapping[str, Any]) -> str:
    """Return the name of a shard's source, or of the folder that it reads."""
    return (card["source"] == "folder" and Path(card["data_dir"]).name) or str(card["source"])


def _common(names: Any) -> str:
    """Return the one name that all shards share, or all of their names."""
    return ", ".join(sorted(set(names)))
