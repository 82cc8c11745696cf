"""Settings as others are told them, and in which of them runs differ."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from superb_ks.settings import (
    EarlyStopping,
    FedAvg,
    FedProx,
    Head,
    Lora,
    Privacy,
    Recipe,
    Settings,
)
from superb_notebook.told_settings import differences, flat, told_settings


def told(**changes: Any) -> dict[str, Any]:
    """Return settings as `superb_notebook.runs` reads them."""
    settings = Settings(**changes)
    own = flat({"recipe": asdict(settings.complete_recipe)})
    given = flat(told_settings(settings))
    return {**given, **{name: value for name, value in own.items() if given.get(name) is None}}


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        ([], []),
        ([told()], [""]),
        ([told(), told()], ["", ""]),
        ([told(seed=0), told(seed=1)], ["seed=0", "seed=1"]),
        ([told(), told(recipe=Recipe(learning_rate=0.3))], ["learning_rate=0.001", "learning_rate=0.3"]),
        # What the model, the tuning or the strategy brings along is no difference of its own.
        ([told(), told(tuning=Head()), told(model="scratch"), told(strategy=FedProx())], [""] * 4),
        (
            [told(strategy=FedAvg()), told(strategy=FedProx(mu=0.1)), told(strategy=FedProx(mu=0.2))],
            ["", "strategy__mu=0.1", "strategy__mu=0.2"],
        ),
        (
            [told(tuning=Lora(rank=4)), told(tuning=Lora(rank=8)), told()],
            ["tuning__rank=4", "tuning__rank=8", ""],
        ),
        (
            [told(), told(privacy=Privacy(clip_norm=1.0, noise_multiplier=2.0))],
            ["", "privacy__clip_norm=1.0, privacy__noise_multiplier=2.0, privacy__delta=1e-05"],
        ),
        ([told(), told(personalise=True)], ["", "personalise=True"]),
        ([told(envoys=["a", "b"]), told()], ["envoys=a+b", ""]),
        ([told(early_stopping=EarlyStopping(patience=2)), told()], ["early_stopping__patience=2", ""]),
        ([{}, told(seed=1), told(seed=2)], ["", "seed=1", "seed=2"]),
        ([{}, told(seed=1)], ["", ""]),
        ([{"a.b": "x" * 1000}, {"a.b": 0}], [f"a__b={'x' * 100} ... 900 characters left out", "a__b=0"]),
    ],
)
def test_what_runs_do_not_share_is_named(runs: list[dict[str, Any]], words: list[str]) -> None:
    assert differences(runs) == words
