"""The line that says how a model is trained."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from superb_ks.recipe import CompleteRecipe, recipe_in_words
from superb_ks.settings import STRATEGIES, FedAdam, FedProx, Head, Lora, Recipe, Settings, strategy_named

HUB = "facebook/wav2vec2-base"
MASKED = ["time masks as the model's configuration says", "feature masks as the model's configuration says"]


def line_of(settings: Settings) -> str:
    return recipe_in_words(vars(settings.complete_recipe), settings.to_dict())


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (
            Settings(),
            "2 epochs a round, batches of 8, rate 0.001 (warm-up 10 %, decay 0.01), speed +/-15 %, "
            "time masks 10 %, feature masks 10 %; strategy fedavg",
        ),
        (
            Settings(tuning=Lora(), strategy=FedProx(mu=0.5), recipe=Recipe(epochs_per_round=1)),
            "1 epoch a round, batches of 8, rate 0.004 (warm-up 10 %, decay 0.01), speed +/-15 %, "
            "time masks 10 %, feature masks 10 %; strategy fedprox(mu=0.5)",
        ),
        (
            Settings(tuning=Head(), strategy=FedAdam(tau=0.1), recipe=Recipe(warmup_fraction=0.0)),
            "30 epochs a round, batches of 128, rate 0.005 (decay 3.0); "
            "strategy fedadam(learning_rate=0.002, beta1=0.5, beta2=0.99, tau=0.1)",
        ),
        (
            Settings(
                model=HUB,
                recipe=Recipe(
                    warmup_fraction=0.0, shift_seconds=0.1, mask_time_prob=0.07, mask_feature_prob=0.0
                ),
            ),
            "1 epoch a round, batches of 32, rate 3e-05, shift +/-0.1 s, time masks 7 %; strategy fedavg",
        ),
    ],
    ids=["tiny", "lora", "head", "hub"],
)
def test_the_line_has_what_is_on(settings: Settings, line: str) -> None:
    assert line_of(settings) == line


CHANGES: dict[str, Any] = {
    **dict(epochs_per_round=5, batch_size=7, learning_rate=0.25, warmup_fraction=0.5, weight_decay=0.5),
    **dict(speed_change=0.3, shift_seconds=0.2, mask_time_prob=0.3, mask_feature_prob=0.4),
}


@pytest.mark.parametrize("name", [item.name for item in fields(CompleteRecipe)])
def test_every_value_of_a_recipe_is_told(name: str) -> None:
    settings = Settings()
    changed = replace(settings, recipe=Recipe(**{name: CHANGES[name]}))
    assert line_of(changed) != line_of(settings)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_is_told_with_every_parameter(name: str) -> None:
    strategy = strategy_named(name)
    _, _, told = line_of(Settings(strategy=strategy)).partition("; strategy ")
    assert told.startswith(name)
    for item in fields(strategy):
        assert f"{item.name}={getattr(strategy, item.name)}" in told
    assert ("(" in told) == bool(fields(strategy))


def test_where_nothing_is_federated_there_is_no_strategy() -> None:
    settings = Settings(strategy=FedProx())
    alone = {name: value for name, value in settings.to_dict().items() if name != "strategy"}
    told = recipe_in_words(vars(settings.complete_recipe), alone)
    assert "strategy" not in told and line_of(settings).startswith(f"{told}; ")


@pytest.mark.parametrize(
    ("settings", "masks"),
    [
        (Settings(model=HUB), MASKED),
        (Settings(model=HUB, recipe=Recipe(mask_feature_prob=0.0)), MASKED[:1]),
        (Settings(model=HUB, tuning=Head()), []),  # it hears clips as they are
        (Settings(model="tiny"), ["time masks 10 %", "feature masks 10 %"]),  # its recipe says so
        (Settings(model="scratch"), []),
    ],
    ids=["hub", "hub, features off", "hub, head", "tiny", "scratch"],
)
def test_masks_that_a_models_configuration_may_ask_for_are_told(settings: Settings, masks: list[str]) -> None:
    words = line_of(settings).partition(";")[0].split(", ")
    assert [each for each in words if "masks" in each] == masks


def test_a_log_in_any_encoding_can_show_it() -> None:
    everything = Settings(model=HUB, recipe=Recipe(**CHANGES), strategy=FedAdam())
    assert line_of(everything).isascii() and line_of(Settings(model=HUB)).isascii()
