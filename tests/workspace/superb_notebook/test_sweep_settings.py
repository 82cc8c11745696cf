"""The combinations of a sweep: where each value goes, and what is refused before anything runs."""

from typing import Any

import numpy as np
import pytest

from superb_ks.settings import (
    EarlyStopping,
    FedAvg,
    FedMedian,
    FedProx,
    Full,
    Head,
    Lora,
    Privacy,
    Recipe,
    Settings,
)
from superb_notebook.sweep_settings import combinations, in_words


def settings_of(base: Settings, **values: Any) -> list[Settings]:
    return [made for _, made in combinations(base, values)]


def test_every_combination_is_made_and_the_last_name_varies_fastest() -> None:
    base = Settings(rounds=7, recipe=Recipe(batch_size=4))
    made = combinations(base, {"strategy": ["median", FedProx(mu=0.5)], "learning_rate": [0.1, 0.2]})
    assert [own for own, _ in made] == [
        {"strategy": "median", "learning_rate": 0.1},
        {"strategy": "median", "learning_rate": 0.2},
        {"strategy": FedProx(mu=0.5), "learning_rate": 0.1},
        {"strategy": FedProx(mu=0.5), "learning_rate": 0.2},
    ]
    assert [(made.strategy, made.recipe) for _, made in made] == [
        (strategy, Recipe(batch_size=4, learning_rate=rate))
        for strategy in (FedMedian(), FedProx(mu=0.5))
        for rate in (0.1, 0.2)
    ]
    assert {made.rounds for _, made in made} == {7}


def test_numbers_of_numpys_become_pythons_which_travel_as_text() -> None:
    (rate,) = [made.recipe.learning_rate for made in settings_of(Settings(), learning_rate=[np.float64(0.5)])]
    (seed,) = [made.seed for made in settings_of(Settings(), seed=list(np.arange(1)))]
    assert (type(rate), type(seed)) == (float, int)


@pytest.mark.parametrize(
    ("values", "made"),
    [
        ({"seed": [1, 2]}, [Settings(seed=1), Settings(seed=2)]),
        ({"tuning": ["full", "lora"]}, [Settings(), Settings(tuning=Lora())]),
        ({"fraction": [0.5]}, [Settings(fraction=0.5)]),
        ({"envoys": [["b", "a"], None]}, [Settings(envoys=("a", "b")), Settings()]),
        ({"strategy__mu": [0.5], "strategy": ["fedprox"]}, [Settings(strategy=FedProx(mu=0.5))]),
        ({"recipe__batch_size": [4]}, [Settings(recipe=Recipe(batch_size=4))]),
        # Neither may be without the other.
        (
            {"early_stopping__min_delta": [0.1], "early_stopping__patience": [2]},
            [Settings(early_stopping=EarlyStopping(patience=2, min_delta=0.1))],
        ),
        ({"model": ["scratch"], "tuning": ["full"]}, [Settings(model="scratch", tuning=Full())]),
    ],
)
def test_where_a_value_goes(values: dict[str, Any], made: list[Settings]) -> None:
    assert settings_of(Settings(), **values) == made


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({}, ["a sweep needs a setting with a list of values"]),
        ({"speed": [1]}, ["there is no setting 'speed' to vary; legal: model, tuning, "]),
        ({"engine": ["flower"]}, ["there is no setting 'engine' to vary"]),
        ({"addresses__director_port": [1]}, ["there is no setting 'addresses__director_port'"]),
        ({"strategy__nu": [1]}, ["there is no setting 'strategy__nu'"]),
        ({"rounds": 3}, ["rounds is 3; legal: a list of values"]),
        ({"tuning": "lora"}, ["tuning is 'lora'; legal: a list of values"]),
        ({"rounds": []}, [r"rounds is \[\]; legal: a list of values"]),
        ({"strategy": ["fedavg", FedAvg()]}, ["strategy has fedavg twice"]),
        ({"rounds": 3, "speed": 1}, ["rounds is 3", "there is no setting 'speed'"]),
        ({"rounds": [0, 1, -1]}, ["Settings.rounds is 0; legal", "Settings.rounds is -1; legal"]),
        ({"strategy": ["mine"]}, ["Settings.strategy is 'mine'; legal: 'fedavg' or"]),
        (
            {"strategy": ["fedavg", "fedprox"], "strategy__mu": [0.1, -1]},
            [
                "strategy__mu cannot be varied with strategy fedavg",
                "FedProx.mu is -1; legal: from 0",
            ],
        ),
        ({"privacy__clip_norm": [1.0]}, ["privacy__clip_norm cannot be varied with privacy None"]),
        ({"learning_rate": [1e-3, 0]}, ["Recipe.learning_rate is 0; legal: None or above 0"]),
        (
            {"tuning": [Head()], "speed_change": [0.1]},
            ["Settings.recipe is .*; legal: speed_change None with"],
        ),
    ],
)
def test_each_wrong_value_gets_one_line(values: dict[str, Any], told: list[str]) -> None:
    with pytest.raises(ValueError, match="^" + "[^\n]*\n".join(told) + "[^\n]*$"):
        combinations(Settings(), values)


def test_how_values_are_shown() -> None:
    shown = {
        "fedprox": FedProx(),
        "FedProx(mu=0.5)": FedProx(mu=0.5),
        "median": "median",
        "0.001": 1e-3,
        "None": None,
        "a, b": ["a", "b"],
        "Privacy(clip_norm=1.0, noise_multiplier=2.0, delta=1e-05)": Privacy(
            clip_norm=1.0, noise_multiplier=2.0
        ),
    }
    assert [in_words(value) for value in shown.values()] == list(shown)
