"""The training benchmark compares like with like."""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.training_job import NoiseClips, noise_dataset, plain_training
from benchmarks.training_shard import LABELS, NoiseShardDescriptor
from superb_ks.model import ModelSpec
from superb_ks.settings import SUPERB_LABELS, Settings


def test_both_ways_have_the_same_clips() -> None:
    ours = NoiseClips(20, seed=2)
    theirs = NoiseShardDescriptor("2, 2", clips=20).get_dataset("train")
    assert len(ours) == len(theirs) == 20
    assert tuple(LABELS) == tuple(SUPERB_LABELS)
    for index in (0, 13):
        (waveform, label), (same, label_there) = ours[index], theirs[index]
        assert np.array_equal(waveform, same)
        assert label == label_there == index % 12


def test_the_plain_loop_trains_what_is_not_frozen() -> None:
    spec = ModelSpec("scratch", SUPERB_LABELS)
    model, untouched = spec.build(), spec.build()
    model.freeze_feature_encoder()
    loss = plain_training(model, noise_dataset(spec, 4), Settings(epochs_per_round=1, batch_size=2))
    assert np.isfinite(loss)
    for (name, parameter), before in zip(model.named_parameters(), untouched.parameters(), strict=True):
        if name != "wav2vec2.masked_spec_embed":
            assert torch.equal(parameter, before) == (not parameter.requires_grad), name
