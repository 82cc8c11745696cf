"""How a model is trained on an envoy: what an experiment chooses, and each model's own recipe.

Imports nothing but the standard library.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from superb_ks.checked import (
    ABOVE_0,
    COUNT,
    FROM_0,
    SHARE,
    Checked,
    Range,
    changes,
    checked,
    is_real,
    or_none,
)
from superb_ks.tuning_settings import TUNINGS, Tuning

TINY = "tiny"
"""The name of the pretrained tiny model that ships with this package."""
SCRATCH = "scratch"
"""The name of the same model from random weights."""
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_hub_id(name: str) -> bool:
    """Tell whether a name has the form of a model of the Hugging Face hub, such as facebook/wav2vec2-base."""
    return _HUB_ID.fullmatch(name) is not None


_HALF_A_SECOND = Range(lambda value: is_real(value) and 0 <= value <= 0.5, "in [0, 0.5]")


@dataclass(frozen=True, kw_only=True)
class Recipe(Checked):
    """What an experiment changes in its model's own recipe; None leaves the model's value.

    Attributes:
        epochs_per_round: how often each envoy goes through its own training clips between two aggregations.
        batch_size: clips in one optimizer step.
        learning_rate: the peak of AdamW's rate, reached after the warm-up.
        warmup_fraction: share of all the federation's steps during which the rate rises.
        weight_decay: AdamW's decoupled weight decay.
        speed_change: clips are played up to this share faster or slower in training.
        shift_seconds: clips of up to a second are moved in time by up to so much.
        mask_time_prob: expected share of the model's frames that SpecAugment masks at most; None in the
            model's own recipe: as its configuration says.
        mask_feature_prob: the same for the channels of the frames.
    """

    epochs_per_round: int | None = checked(or_none(COUNT), None)
    batch_size: int | None = checked(or_none(COUNT), None)
    learning_rate: float | None = checked(or_none(ABOVE_0), None)
    warmup_fraction: float | None = checked(or_none(SHARE), None)
    weight_decay: float | None = checked(or_none(FROM_0), None)
    speed_change: float | None = checked(or_none(SHARE), None)
    shift_seconds: float | None = checked(or_none(_HALF_A_SECOND), None)
    mask_time_prob: float | None = checked(or_none(SHARE), None)
    mask_feature_prob: float | None = checked(or_none(SHARE), None)

    def __repr__(self) -> str:
        return changes(self)


AUGMENTATIONS = ("speed_change", "shift_seconds", "mask_time_prob", "mask_feature_prob")
"""What of a recipe changes clips. A head is trained on hidden states of clips as they are, computed once."""


@dataclass(frozen=True, kw_only=True)
class CompleteRecipe:
    """A recipe that is trained by: every value is known. The attributes are those of `Recipe`."""

    epochs_per_round: int
    batch_size: int
    learning_rate: float
    warmup_fraction: float
    weight_decay: float
    speed_change: float = 0.0
    shift_seconds: float = 0.0
    mask_time_prob: float | None = None
    mask_feature_prob: float | None = None


_SMALL = CompleteRecipe(
    epochs_per_round=2,
    batch_size=16,
    learning_rate=1e-3,
    warmup_fraction=0.1,
    weight_decay=0.01,
    speed_change=0.15,
)
RECIPES = {
    # Masks gained 0.7 points of cross-validated accuracy, and batches of 8 gained 1 to 2 where shards differ;
    # random weights hardly learn in them (docs/results.md, "What was tried").
    TINY: replace(_SMALL, batch_size=8, mask_time_prob=0.1, mask_feature_prob=0.1),
    SCRATCH: replace(_SMALL, epochs_per_round=4),
    # Pretrained models: the rates of the Hugging Face audio-classification example for wav2vec2-base.
    "pretrained": CompleteRecipe(
        epochs_per_round=1, batch_size=32, learning_rate=3e-5, warmup_fraction=0.1, weight_decay=0.0
    ),
}
"""How a model is trained by the tuning `Full`, by its name."""

_CHANGES: dict[tuple[str, str], dict[str, Any]] = {
    # Adapters start from nothing and are few: they bear, and need, a higher rate than the weights they adapt.
    (TINY, "lora"): dict(learning_rate=4e-3),
    ("pretrained", "lora"): dict(learning_rate=5e-4),
    # An epoch on cached hidden states costs next to nothing, and a head does not damage the frozen upstream.
    # So much decay gained 2.3 points of cross-validated accuracy for the tiny model's head.
    (TINY, "head"): dict(
        epochs_per_round=30,
        batch_size=128,
        learning_rate=5e-3,
        weight_decay=3.0,
        **dict.fromkeys(AUGMENTATIONS, 0.0),
    ),
    ("pretrained", "head"): dict(epochs_per_round=30, batch_size=128, learning_rate=1e-3),
}
"""What the other tunings change in it."""


def recipe_for(model: str, tuning: str) -> CompleteRecipe:
    """Return a model's own recipe for a tuning, or that of pretrained models in general, by their names."""
    kind = model if model in RECIPES else "pretrained"
    return replace(RECIPES[kind], **_CHANGES.get((kind, tuning), {}))


def recipe_in_words(recipe: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """Return how a model is trained, in one line; what is off is left out.

    The line is ASCII: Flower prints a traceback where a log's encoding lacks a letter.

    Args:
        recipe: the values of a `CompleteRecipe` by name, such as `vars(settings.complete_recipe)`.
        settings: the experiment's, as `Settings.to_dict` returns them and `summary.json` has them; without
            `strategy` where nothing is federated.
    """
    epochs = recipe["epochs_per_round"]
    words = [
        f"{epochs} epoch{'s' * (epochs != 1)} a round",
        f"batches of {recipe['batch_size']}",
        _rate_in_words(recipe),
        *_augmentation_in_words(recipe, _masks_by_itself(settings)),
    ]
    line = ", ".join(words)
    return f"{line}; strategy {_call(settings['strategy'])}" if "strategy" in settings else line


def _rate_in_words(recipe: Mapping[str, Any]) -> str:
    warmup, decay = recipe["warmup_fraction"], recipe["weight_decay"]
    more = [f"warm-up {_percent(warmup)}"] * bool(warmup) + [f"decay {decay}"] * bool(decay)
    return f"rate {recipe['learning_rate']}" + (f" ({', '.join(more)})" if more else "")


def _augmentation_in_words(recipe: Mapping[str, Any], masks_by_itself: bool) -> Iterator[str]:
    if speed := recipe["speed_change"]:
        yield f"speed +/-{_percent(speed)}"
    if shift := recipe["shift_seconds"]:
        yield f"shift +/-{shift} s"
    for axis in ("time", "feature"):
        share = recipe[f"mask_{axis}_prob"]
        if share:
            yield f"{axis} masks {_percent(share)}"
        elif share is None and masks_by_itself:
            yield f"{axis} masks as the model's configuration says"


def _masks_by_itself(settings: Mapping[str, Any]) -> bool:
    """Tell whether a model may mask without being told to: not the tiny one, and not for a head."""
    return settings["model"] not in (TINY, SCRATCH) and settings["tuning"]["name"] != "head"


def _percent(share: float) -> str:
    return f"{100 * share:g} %"


def _call(choice: Mapping[str, Any]) -> str:
    """Return a choice with its parameters, as `Checked.to_dict` has them: `fedprox(mu=0.01)`."""
    parameters = ", ".join(f"{name}={value}" for name, value in choice.items() if name != "name")
    return f"{choice['name']}({parameters})" if parameters else str(choice["name"])


def legal_tunings(model: str) -> dict[str, type[Tuning]]:
    """Return how a model can be tuned; frozen random weights would be of no use to a head or an adapter."""
    return {"full": TUNINGS["full"]} if model == SCRATCH else TUNINGS
