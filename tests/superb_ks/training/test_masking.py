"""Masks on the model's frames: their share, clips too short for them, and a configuration left as it was."""

from pathlib import Path

import numpy as np
import pytest
import torch

from superb_ks.model.spec import ModelSpec
from superb_ks.settings import SUPERB_LABELS
from superb_ks.training.generators import seeded
from superb_ks.training.masking import masked_features


@pytest.fixture
def pretrained(base_folder: Path):
    """A model of the usual configuration: 5 % of time, at least two stretches of ten frames, no channels."""
    model = ModelSpec(str(base_folder), SUPERB_LABELS).build()
    assert (model.config.mask_time_prob, model.config.mask_time_min_masks) == (0.05, 2)
    return model.train()


def masked(model, samples: int, time_prob=None, feature_prob=None, batch: int = 64) -> np.ndarray:
    """Return which values of the frames were masked, bool [batch, frames, channels]."""
    seen = []
    inside = next(m for m in model.modules() if hasattr(m, "_mask_hidden_states"))
    original = inside._mask_hidden_states

    def spy(hidden_states, **kwargs):
        before = hidden_states.detach().clone()
        seen.append((before, original(hidden_states.clone(), **kwargs).detach()))
        return seen[-1][1]

    inside._mask_hidden_states = spy
    with seeded(1, "cpu"), masked_features(model, time_prob, feature_prob), torch.no_grad():
        model(torch.randn(batch, samples))
    del inside._mask_hidden_states
    ((before, after),) = seen
    return (before != after).numpy()


def test_the_models_own_configuration_masks_two_stretches_of_ten_frames(pretrained):
    frames = masked(pretrained, 16_000).all(axis=2)
    assert frames.shape == (64, 49)
    assert frames.sum(axis=1).min() >= 10 and frames.sum(axis=1).max() == 20


def test_a_share_is_kept_to_without_the_minimum_of_two_stretches(pretrained):
    frames = masked(pretrained, 16_000, time_prob=0.4, batch=16).all(axis=2)
    assert set(frames.sum(axis=1)) <= set(range(10, 21))  # 0.4 · 49 / 10: one or two stretches
    assert not masked(pretrained, 16_000, time_prob=0.0).any()


def test_channels_are_masked_over_all_frames(pretrained):
    values = masked(pretrained, 16_000, time_prob=0.0, feature_prob=0.5)
    channels = values.any(axis=1)
    assert np.array_equal(values, np.broadcast_to(channels[:, None], values.shape))
    assert 0 < channels.sum(axis=1).max() <= 20  # stretches of ten of 32


@pytest.mark.parametrize("samples", [400, 1_600, 3_000])
def test_clips_shorter_than_a_stretch_are_trained_on_and_not_hidden(pretrained, samples):
    with pytest.raises(ValueError, match="mask_length"):
        pretrained(torch.zeros(2, samples))
    frames = masked(pretrained, samples).all(axis=2)
    if samples > 400:  # which is a single frame
        assert 0 < frames.mean(axis=1).max() <= 0.5


def test_a_model_without_an_embedding_for_masks_gets_zeros_for_the_time():
    model = ModelSpec("tiny", SUPERB_LABELS).build().train()
    names = set(model.state_dict())
    frames = masked(model, 16_000, time_prob=0.4, batch=8).any(axis=2)
    assert frames.any()
    assert set(model.state_dict()) == names and not hasattr(model.wav2vec2, "masked_spec_embed")


def test_the_configuration_is_as_before_even_after_an_error(pretrained):
    before = pretrained.config.to_dict()
    masked(pretrained, 1_600, time_prob=0.3, feature_prob=0.1)
    with pytest.raises(RuntimeError, match="Kernel size"), masked_features(pretrained, 0.3, 0.1):
        pretrained(torch.zeros(1, 5))
    assert pretrained.config.to_dict() == before
    assert not pretrained.wav2vec2.feature_extractor._forward_hooks
