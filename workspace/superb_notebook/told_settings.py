"""An experiment's settings as others are told them: in `summary.json`, to trackers, in tables of runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from superb_ks.settings import NOTEBOOKS_OWN, Settings
from superb_node.text import MAX_NAME_LETTERS, shortened

# A table of runs has columns for these.
_IN_COLUMNS = ("model", "tuning.name", "strategy.name", "rounds")
# Groups whose values follow from another choice: they are compared among the runs that made the same one.
_FOLLOWS = {
    "recipe": ("model", "tuning.name"),
    "tuning": ("tuning.name",),
    "strategy": ("strategy.name",),
}


def told_settings(settings: Settings) -> dict[str, Any]:
    """Return settings as JSON knows them, without hosts, folders, and what else is the notebook's alone."""
    told = {name: value for name, value in settings.to_dict().items() if name not in NOTEBOOKS_OWN}
    return {**told, "model": model_name(settings.model), "engine": settings.engine}


def model_name(model: str) -> str:
    """Return a model's name; of a folder, the last part."""
    return Path(model).name if Path(model).is_dir() else model


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Give nested settings dotted names, such as `strategy.name`."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found


def differences(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return for each run its settings that not all runs share, such as "learning_rate=0.003, seed=1".

    What is None or False is left out, since it is the absence of something that another run has.

    Args:
        runs: settings by dotted names; empty where they are not known.
    """
    found: defaultdict[tuple[str, ...], set[str]] = defaultdict(set)
    names = {name: None for run in runs for name in run if name not in _IN_COLUMNS}
    for run in filter(None, runs):
        for name in names:
            found[_compared(name, run)].add(repr(run.get(name)))
    return [
        ", ".join(
            f"{_called(name)}={_word(run[name])}"
            for name in names
            if len(found[_compared(name, run)]) > 1 and not (run.get(name) is None or run[name] is False)
        )
        for run in runs
    ]


def _compared(name: str, run: Mapping[str, Any]) -> tuple[str, ...]:
    return (name, *(str(run.get(other)) for other in _FOLLOWS.get(name.partition(".")[0], ())))


def _called(name: str) -> str:
    """Return the name by which a sweep varies a setting."""
    return name.removeprefix("recipe.").replace(".", "__")


def _word(value: Any) -> str:
    word = "+".join(map(str, value)) if isinstance(value, list) else str(value)
    return shortened(word, MAX_NAME_LETTERS)
