"""How each kind of model is trained, unless the settings say otherwise. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

TINY = "tiny"
"""The name of the pretrained miniature that ships with this package."""
SCRATCH = "scratch"
"""The name of the same miniature from random weights."""


TUNINGS = ("full", "lora", "head")
"""What of a pretrained model is trained (`superb_ks.model.tuning` does it)."""

USED_BY: dict[str, tuple[str, ...]] = {
    # A head is trained on hidden states of whole clips, computed once: nothing is changed in them.
    **dict.fromkeys(
        ("speed_change", "shift_seconds", "time_mask_seconds", "mask_time_prob", "mask_feature_prob"),
        ("full", "lora"),
    ),
    "lora_rank": ("lora",),
    "lora_alpha": ("lora",),
}
"""The tunings that use a field of the recipe; what is not named here is used by all."""


@dataclass(frozen=True)
class Recipe:
    """How one kind of model is trained.

    Attributes:
        epochs_per_round: passes of each envoy over its own training clips between two aggregations.
        batch_size: clips in one optimizer step.
        learning_rate: the peak of AdamW's rate, reached after the warm-up.
        warmup_fraction: share of all the federation's steps during which the rate rises, in [0, 1).
        weight_decay: AdamW's decoupled weight decay.
        speed_change: clips are played up to this share faster or slower in training, in [0, 1).
        steps_per_round: optimizer steps of each envoy between two aggregations, in place of
            `epochs_per_round`; None: whole epochs.
        balanced_classes: an epoch has each class equally often, not each clip once.
        shift_seconds: clips of up to a second are moved in time by up to so much, in [0, 0.5].
        time_mask_seconds: up to so much of each clip is silenced, in one stretch, in [0, 0.5].
        mask_time_prob: expected share of the model's frames masked in training, at most, in [0, 1); None: as
            the model's own configuration says.
        mask_feature_prob: the same for the channels of the frames.
        lora_rank: width of the adapters of tuning "lora".
        lora_alpha: the adapters' output is scaled by alpha / rank.
    """

    epochs_per_round: int
    batch_size: int
    learning_rate: float
    warmup_fraction: float
    weight_decay: float
    speed_change: float
    steps_per_round: int | None = None
    balanced_classes: bool = False
    shift_seconds: float = 0.0
    time_mask_seconds: float = 0.0
    mask_time_prob: float | None = None
    mask_feature_prob: float | None = None
    lora_rank: int = 8
    lora_alpha: float = 16.0


RECIPES = {
    TINY: Recipe(2, 16, 1e-3, 0.1, 0.01, speed_change=0.15),
    SCRATCH: Recipe(4, 16, 1e-3, 0.1, 0.01, speed_change=0.15),
    # Pretrained models: the rates of the Hugging Face audio-classification example for wav2vec2-base.
    "pretrained": Recipe(1, 32, 3e-5, 0.1, 0.0, speed_change=0.0),
}
"""How a model is trained by the tuning "full", by its name."""

_CHANGES: dict[tuple[str, str], dict[str, Any]] = {
    # Adapters start from nothing and are few: they bear, and need, a higher rate than the weights they adapt.
    (TINY, "lora"): dict(learning_rate=4e-3),
    ("pretrained", "lora"): dict(learning_rate=5e-4),
    # A pass over cached hidden states costs next to nothing, and a head alone does not wear the upstream out.
    # Of the miniature's head more decay was no worse on the validation clips, and steadier over the rounds.
    (TINY, "head"): dict(
        epochs_per_round=30, batch_size=128, learning_rate=5e-3, weight_decay=1.0, speed_change=0.0
    ),
    ("pretrained", "head"): dict(epochs_per_round=30, batch_size=128, learning_rate=1e-3, speed_change=0.0),
}
"""What the other tunings change in it."""


def recipe_for(model: str, tuning: str = "full") -> Recipe:
    """Return the recipe of a tuning and a model's name: its own, or that of pretrained models in general."""
    kind = model if model in RECIPES else "pretrained"
    return replace(RECIPES[kind], **_CHANGES.get((kind, tuning), {}))


def legal_tunings(model: str) -> tuple[str, ...]:
    """Return how a model can be tuned; frozen random weights would be of no use to a head or an adapter."""
    return ("full",) if model == SCRATCH else TUNINGS
