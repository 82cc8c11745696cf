"""The experiment that a run carries out: what a notebook put into the app, or one by the run's config."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from superb_ks.experiment import Experiment, UnsoundExperiment
from superb_ks.model.spec import ModelSpec
from superb_ks.run_files import EXPERIMENT
from superb_ks.settings import NOTEBOOKS_OWN, Settings

_KEYS = {
    **{name: name for name in ("model", "rounds", "fraction", "seed")},
    "tuning.name": "tuning",
    "strategy.name": "strategy",
    "recipe.epochs_per_round": "epochs-per-round",
    "privacy.noise_multiplier": "noise-multiplier",
    "privacy.clip_norm": "clip-norm",
}
"""The setting of each key of the run config that has one: `group.field` for one of a group."""
_CLIP_NORM = 1.0
"""The default of `clip-norm`."""

_OWN_SETTINGS = "settings = Settings()\n"
_MODEL_AND_DATA = {"model": "model", "data_loader": "shard", "device": "device"}
_ARGUMENTS = {
    "train": {**_MODEL_AND_DATA, "optimizer": "optimizer", "round_num": "round_num"},
    "validate": _MODEL_AND_DATA,
    "test": _MODEL_AND_DATA,
}


def notebooks_text() -> bytes | None:
    """Return the experiment's text that a notebook put into the app; None if none did."""
    file = Path(__file__).with_name(EXPERIMENT)
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


def spec_of(experiment: Experiment) -> ModelSpec:
    """Return the specification of an experiment's model.

    Raises:
        UnsoundExperiment: a function of the notebook builds the model, or opens the shards.
    """
    if isinstance(experiment.model, Mapping) and experiment.shard is None:
        return ModelSpec.from_dict(experiment.model)
    raise UnsoundExperiment(
        "on Flower no function of the notebook builds the model (model=...) or opens a shard (shard=...)"
    )


def settings_by_config(run_config: Mapping[str, Any]) -> Settings:
    """Return the settings of the run's config: what has a key of its own, and `settings` for all others.

    A setting has one place, so that nothing is overridden without a word.

    Args:
        run_config: with the keys of `[tool.flwr.app.config]`.

    Raises:
        ValueError: a value is illegal, or in the wrong place; the message names it and what is legal.
    """
    values: dict[str, Any] = {}
    for setting, key in _KEYS.items():
        group, _, field = setting.rpartition(".")
        (values.setdefault(group, {}) if group else values)[field] = run_config[key]
    values["recipe"] = {"epochs_per_round": run_config["epochs-per-round"] or None}
    further = _further(run_config["settings"])
    if own := [name for name in further if name in NOTEBOOKS_OWN]:
        raise ValueError(f"the run config's settings have {own[0]!r}, which concerns notebooks alone")
    if not run_config["noise-multiplier"] and "privacy" not in further:
        if run_config["clip-norm"] != _CLIP_NORM:
            raise ValueError(
                f"the run config's clip-norm is {run_config['clip-norm']!r}, and without a noise-multiplier "
                "nothing is clipped; give both, or neither"
            )
        values["privacy"] = None
    _add(further, values)
    return Settings.from_dict({**values, "engine": "flower"})


def _further(text: object) -> dict[str, Any]:
    """Return what the run config's `settings` holds.

    Raises:
        ValueError: it is no JSON object.
    """
    try:
        further = json.loads(text or "{}") if isinstance(text, str) else text
    except json.JSONDecodeError as error:
        raise ValueError(f"the run config's settings are no JSON: {error}") from error
    if not isinstance(further, dict):
        raise ValueError(f"the run config's settings are {further!r}; legal: a JSON object")
    return further


def _add(further: Mapping[str, Any], values: dict[str, Any], group: str = "") -> None:
    """Add settings to those that have keys of their own, group by group.

    Raises:
        ValueError: one has a key of its own.
    """
    for name, value in further.items():
        setting, there = f"{group}{name}", values.get(name)
        if isinstance(there, dict) and isinstance(value, dict):
            _add(value, there, f"{setting}.")
        elif keys := [f"{key}=…" for each, key in _KEYS.items() if f"{each}.".startswith(f"{setting}.")]:
            raise ValueError(
                f"the run config's settings have {setting!r}, which has a key of its own: {' '.join(keys)}"
            )
        else:
            values[name] = value
