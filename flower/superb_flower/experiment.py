"""The experiment that a run carries out: what a notebook put into the app, or one by the run's config."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from superb_ks.experiment import Experiment
from superb_ks.model.spec import ModelSpec
from superb_ks.settings import Settings

NOTEBOOKS = "experiment.json"
"""File next to this one: what a notebook submitted (`superb_ks.experiment`)."""

_HAVE_KEYS = ("model", "rounds", "fraction", "seed")
_OWN_SETTINGS = "settings = Settings()\n"
_MODEL_AND_DATA = {"model": "model", "data_loader": "shard", "device": "device"}
_ARGUMENTS = {
    "train": {**_MODEL_AND_DATA, "optimizer": "optimizer", "round_num": "round_num"},
    "validate": _MODEL_AND_DATA,
    "test": _MODEL_AND_DATA,
}


def notebooks_text() -> bytes | None:
    """Return the experiment's text that a notebook put into the app; None if none did."""
    file = Path(__file__).with_name(NOTEBOOKS)
    return file.read_bytes() if file.exists() else None


def text_of(settings: Settings, labels: Sequence[str]) -> bytes:
    """Return the text of the tutorial's experiment.

    Args:
        settings: of the run.
        labels: of the clients' shards.
    """
    source = Path(__file__).with_name("lesson.py").read_text(encoding="utf-8")
    in_force = f"settings = Settings.from_dict({settings.for_nodes().to_dict()!r})\n"
    before, after = source.split(_OWN_SETTINGS)
    return Experiment(
        settings=settings.for_nodes(),
        model=ModelSpec.of(settings, tuple(labels)).sealed().to_dict(),
        tasks=before + in_force + after,
        arguments=_ARGUMENTS,
    ).to_bytes()


def settings_by_config(run_config: Mapping[str, Any]) -> Settings:
    """Return the settings of the run's config: what has a key of its own, and `settings` over it.

    Args:
        run_config: with the keys of `[tool.flwr.app.config]`.

    Raises:
        ValueError: a value is illegal; the message names it and what is legal.
    """
    noise = float(run_config["noise-multiplier"])
    privacy = {"clip_norm": float(run_config["clip-norm"]), "noise_multiplier": noise}
    by_keys = {
        **{name: run_config[name] for name in _HAVE_KEYS},
        **{name: {"name": run_config[name]} for name in ("tuning", "strategy")},
        "recipe": {"epochs_per_round": run_config["epochs-per-round"] or None},
        "privacy": privacy if noise else None,
        "engine": "flower",
    }
    try:
        further = json.loads(run_config["settings"] or "{}")
    except json.JSONDecodeError as error:
        raise ValueError(f"the run config's settings are no JSON: {error}") from error
    if not isinstance(further, dict):
        raise ValueError(f"the run config's settings are {further!r}; legal: a JSON object")
    for name in sorted(further.keys() & set(_HAVE_KEYS)):
        raise ValueError(f"the run config's settings have {name!r}, which is a key of its own: {name}=…")
    return Settings.from_dict({**by_keys, **further})
