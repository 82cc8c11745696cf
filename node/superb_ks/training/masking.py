"""SpecAugment on a model's own frames in training: stretches of time and bands of channels are masked.

Park et al., 2019, "SpecAugment: A Simple Data Augmentation Method for ASR", as the Wav2Vec2 family has it:
the mask lies on the projected output of the convolutions, and the model's configuration says how much of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

FIELDS = (
    "apply_spec_augment",
    "mask_time_prob",
    "mask_time_length",
    "mask_time_min_masks",
    "mask_feature_prob",
)
"""What of the configuration is changed during a training."""

LONGEST_SHARE = 4
"""One masked stretch covers at most a fourth of a batch's frames."""


@contextmanager
def masked_features(model: nn.Module, time_prob: float | None, feature_prob: float | None) -> Iterator[None]:
    """Train a model with masks; its configuration is as before afterwards.

    `mask_time_length` is limited to a quarter of the frames of each batch: transformers raises where a batch
    is shorter than one stretch (ten frames, 0.2 s), and would hide most of a clip that is hardly longer.

    Args:
        model: the model.
        time_prob: the expected share of masked frames at most, in [0, 1); None leaves all as the model's
            configuration has it. A value also lifts the configuration's minimum of two stretches, which are
            40 % of a second however small the share.
        feature_prob: the same for channels; None leaves the configuration's.
    """
    config: Any = model.config
    before = {name: getattr(config, name) for name in FIELDS if hasattr(config, name)}
    if time_prob is not None:
        config.update({"apply_spec_augment": True, "mask_time_prob": time_prob, "mask_time_min_masks": 0})
    if feature_prob is not None:
        config.update({"apply_spec_augment": True, "mask_feature_prob": feature_prob})
    filled = [_fill_with_zeros(module) for module in model.modules() if _masks_without_embedding(module)]
    hooks = []
    if "mask_time_length" in before:
        longest = before["mask_time_length"]

        def limit(module: nn.Module, args: Any, frames: torch.Tensor) -> None:
            config.mask_time_length = max(1, min(longest, frames.shape[-1] // LONGEST_SHARE))

        hooks = [
            module.register_forward_hook(limit)
            for name, module in model.named_modules()
            if name.rpartition(".")[-1] == "feature_extractor"
        ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for module in filled:
            del module.masked_spec_embed
        config.update(before)


def _masks_without_embedding(module: nn.Module) -> bool:
    return hasattr(module, "_mask_hidden_states") and not hasattr(module, "masked_spec_embed")


def _fill_with_zeros(module: nn.Module) -> nn.Module:
    """Give a model that was built without masks, and so without an embedding for them, zeros to mask with."""
    module.masked_spec_embed = torch.zeros((), device=next(module.parameters()).device)
    return module
