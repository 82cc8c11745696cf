"""The settings that `flwr run` is given, by keys of their own and as JSON."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from superb_flower.experiment import settings_by_config, text_of

from superb_ks.experiment import Experiment
from superb_ks.settings import (
    SUPERB_LABELS,
    EarlyStopping,
    FedAdam,
    FedProx,
    Lora,
    Privacy,
    Recipe,
    Settings,
)
from tests.flower.conftest import app_defaults


def config(**given: Any) -> dict[str, Any]:
    """Return the app's run config with some values of its own, whose names have `_` for `-`."""
    default = app_defaults()
    own = {name.replace("_", "-"): value for name, value in given.items()}
    assert own.keys() <= default.keys()
    return {**default, **own}


@pytest.mark.parametrize(
    ("given", "settings"),
    [
        ({}, Settings()),
        ({"strategy": "fedprox", "rounds": 5}, Settings(strategy=FedProx(), rounds=5)),
        ({"epochs_per_round": 2, "fraction": 1}, Settings(recipe=Recipe(epochs_per_round=2))),
        ({"noise_multiplier": 2, "clip_norm": 3}, Settings(privacy=Privacy(clip_norm=3, noise_multiplier=2))),
        ({"tuning": "lora", "settings": '{"tuning": {"rank": 4}}'}, Settings(tuning=Lora(rank=4))),
        (
            {"strategy": "fedadam", "settings": '{"strategy": {"learning_rate": 0.1}}'},
            Settings(strategy=FedAdam(learning_rate=0.1)),
        ),
        (
            {"epochs_per_round": 5, "settings": '{"recipe": {"batch_size": 8}}'},
            Settings(recipe=Recipe(epochs_per_round=5, batch_size=8)),
        ),
        (
            {"noise_multiplier": 2.0, "settings": '{"privacy": {"delta": 1e-6}}'},
            Settings(privacy=Privacy(clip_norm=1.0, noise_multiplier=2.0, delta=1e-6)),
        ),
        (
            {"settings": '{"early_stopping": {"patience": 2}, "precision": "float32"}', "seed": 1},
            Settings(early_stopping=EarlyStopping(patience=2), precision="float32", seed=1),
        ),
    ],
)
def test_a_run_can_have_every_setting(given: dict[str, Any], settings: Settings) -> None:
    assert settings_by_config(config(**given)) == replace(settings, engine="flower")
    sent = Experiment.read(text_of(settings_by_config(config(**given)), SUPERB_LABELS)).settings
    assert sent == settings.for_nodes()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"settings": "{"}, "the run config's settings are no JSON: Expecting property name"),
        ({"settings": "[]"}, r"the run config's settings are \[\]; legal: a JSON object"),
        ({"settings": 5}, "the run config's settings are 5; legal: a JSON object"),
        (
            {"clip_norm": 0.5},
            "clip-norm is 0.5, and without a noise-multiplier nothing is clipped; give both",
        ),
        ({"settings": '{"round": 3}'}, "Settings has no field 'round'; its fields are model, tuning"),
        ({"tuning": "lora", "settings": '{"tuning": {"rank": 0}}'}, "Lora.rank is 0; legal: a whole number"),
        ({"settings": '{"engine": "openfl"}'}, "settings have 'engine', which concerns notebooks alone$"),
        ({"settings": '{"runs_dir": "runs"}'}, "settings have 'runs_dir', which concerns notebooks alone$"),
        ({"settings": '{"seed": 3}'}, "settings have 'seed', which has a key of its own: seed=…"),
        ({"settings": '{"tuning": {"name": "lora"}}'}, "have 'tuning.name', .* own: tuning=…$"),
        ({"settings": '{"tuning": "lora"}'}, "have 'tuning', which has a key of its own: tuning=…$"),
        ({"settings": '{"strategy": {"name": "fedadam"}}'}, "have 'strategy.name', .* own: strategy=…$"),
        (
            {"epochs_per_round": 5, "settings": '{"recipe": {"epochs_per_round": 3}}'},
            "have 'recipe.epochs_per_round', which has a key of its own: epochs-per-round=…$",
        ),
        (
            {"settings": '{"privacy": {"noise_multiplier": 2}}'},
            "have 'privacy.noise_multiplier', which has a key of its own: noise-multiplier=…$",
        ),
        ({"settings": '{"privacy": null}'}, "have 'privacy', .* own: noise-multiplier=… clip-norm=…$"),
        ({"settings": '{"privacy": {"delta": 1e-6}}'}, "Privacy.noise_multiplier is 0.0; legal: from 1e-9"),
        ({"strategy": "fedsgd"}, "Settings.strategy is 'fedsgd'; legal: 'fedavg' or"),
        ({"rounds": 0}, "Settings.rounds is 0; legal: a whole number from 1 to 100,000"),
    ],
)
def test_an_illegal_setting_is_named(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        settings_by_config(config(**given))
