"""What a run leaves behind: its folder, and `summary.json` for everything that measures."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from superb_ks.settings import Settings
from superb_node.work_folder import point_latest_to, replace_file
from superb_notebook.history import History
from superb_notebook.model_card import write_card
from superb_notebook.personal import summarize_personal
from superb_notebook.told_settings import model_name, told_settings

logger = logging.getLogger(__name__)

SUMMARY = "summary.json"

Cards = Mapping[str, Mapping[str, Any]]


def run_folder(given: str | None, settings: Settings) -> Path:
    """Return the folder for a run's results: the given one, or a new one in `settings.runs_dir`.

    Args:
        given: a folder that exists; None: a new one, named by date and time, with a number if that is taken.
        settings: the experiment's.

    Raises:
        OSError: it cannot be made there; the message says what to do.
    """
    if given:
        return Path(given)
    runs = Path(settings.runs_dir)
    try:
        runs.mkdir(parents=True, exist_ok=True)
        return _claimed(runs)
    except OSError as error:
        raise type(error)(
            f"no run can be saved in {runs} ({error.strerror}): make it a folder that can be written, "
            "or set RUN_DIR to one, and run this cell again"
        ) from error


def _claimed(runs: Path) -> Path:
    stem = f"{datetime.now():%Y%m%d-%H%M%S}"
    for name in itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2))):
        with suppress(FileExistsError):
            (runs / name).mkdir()
            break
    return runs / name


def write_summary(
    run_dir: Path,
    settings: Settings,
    cards: Cards,
    history: History,
    baseline: tuple[str, History] | None = None,
    latest: bool = False,
    further: Mapping[str, Any] | None = None,
) -> Path:
    """Write a finished experiment's figures into the run's folder, so that no one sees half of them.

    A model that was saved there, in `model`, gets its model card.

    Args:
        run_dir: the folder.
        settings: the experiment's.
        cards: the shard cards of its envoys.
        history: all its records.
        baseline: name and history of the model that was trained for comparison, or None.
        latest: let the link `latest` next to the folder point to it.
        further: entries of the file besides those of `summarize`.

    Returns:
        The file, `summary.json`.

    Raises:
        ValueError: the experiment is not finished.
    """
    summary = {**summarize(settings, cards, history, baseline), **(further or {})}
    if (run_dir / "model").is_dir():
        write_card(run_dir / "model", settings, cards, history, summary)
    path = run_dir / SUMMARY
    replace_file(path, f"{json.dumps(summary, indent=2)}\n".encode())
    if latest:
        _make_latest(run_dir)
    return path


def summarize(
    settings: Settings, cards: Cards, history: History, baseline: tuple[str, History] | None = None
) -> dict[str, Any]:
    """Gather the figures of a finished experiment; the arguments are those of `write_summary`.

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
        "experiment": history.experiment or settings.experiment_name,
        "settings": told_settings(settings),
        "recipe": asdict(settings.complete_recipe),
        "engine": settings.engine,
        "model": model_name(settings.model),
        "tuning": settings.tuning.name,
        "strategy": settings.strategy.name,
        "data": _common(str(card["source"]) for card in cards.values()),
        "partition": _common(str(card["partition"]) for card in cards.values()),
        "envoys": len(history.envoys),
        "envoy_names": list(history.envoys),
        "rounds": _rounds(history),
        "stopped_early": history.stopped_early or None,
        "initial_test_accuracy": initial.accuracy,
        "test_accuracy": test.accuracy,
        "test_clips": test.clips,
        "personal": summarize_personal(history),
        "confusion": history.confusion(len(labels)).tolist(),
        "bytes_up_per_envoy_round": history.bytes_up(),
        "bytes_sent_per_envoy": history.bytes_sent(),
        "baseline": None if baseline is None else _baseline(*baseline),
        "seconds_total": sum(result.seconds for result in results),
    }


def _make_latest(run_dir: Path) -> None:
    try:
        point_latest_to(run_dir)
    except OSError as error:
        latest = run_dir.parent / "latest"
        logger.warning(
            "%s does not point to this run (%s); is it a folder? Move it away", latest, error.strerror
        )


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
    return {"model": model_name(model), "rounds": _rounds(history), "test_accuracy": test.accuracy}


def _common(names: Iterable[str]) -> str:
    """Return the one name that all shards share, or all of their names."""
    return ", ".join(sorted(set(names)))
