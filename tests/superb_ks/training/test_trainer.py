"""What the round's Trainer adds to that of transformers, and what it leaves out."""

import gc
import random
import weakref
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from superb_ks.model.packing import pack
from superb_ks.model.spec import ModelSpec
from superb_ks.settings import SUPERB_LABELS, FedProx, Recipe, Settings
from superb_ks.training.data import ClipDataset
from superb_ks.training.local import local_trainer
from superb_ks.training.trainer import no_input_gradient, plain_attention

SCRATCH = ModelSpec("scratch", SUPERB_LABELS, seed=1)
ONE_EPOCH = Settings(recipe=Recipe(epochs_per_round=1, batch_size=4, speed_change=0.0), precision="float32")


def trained(dataset, settings: Settings, model=None) -> np.ndarray:
    model = SCRATCH.build() if model is None else model
    local_trainer(model, dataset, settings, "cpu", 0).train()
    return pack(model)


@pytest.fixture
def dataset(tone_clips) -> ClipDataset:
    return ClipDataset(tone_clips([1_600] * 8), SCRATCH.feature_extractor())


def test_masked_training_repeats_and_leaves_the_global_generators(
    base_folder: Path, tone_clips, global_seeds_untouched
):
    spec = ModelSpec(str(base_folder), SUPERB_LABELS)
    dataset = ClipDataset(tone_clips([8_000] * 8), spec.feature_extractor())
    masked = Recipe(
        epochs_per_round=1, batch_size=4, learning_rate=1e-3,
        mask_time_prob=0.2, mask_feature_prob=0.2, shift_seconds=0.1,
    )  # fmt: skip
    settings = replace(ONE_EPOCH, model=str(base_folder), recipe=masked)
    python_state = random.getstate()
    first = trained(dataset, settings, spec.build())
    assert random.getstate() == python_state
    with torch.random.fork_rng(devices=[]):
        state = np.random.get_state()
        np.random.seed(77)
        torch.manual_seed(78)
        again = trained(dataset, settings, spec.build())
        np.random.set_state(state)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, trained(dataset, replace(settings, seed=9), spec.build()))
    unmasked = replace(settings, recipe=replace(masked, mask_time_prob=0.0))
    assert not np.array_equal(first, trained(dataset, unmasked, spec.build()))


def test_a_pretrained_model_trains_on_clips_of_a_tenth_of_a_second(base_folder: Path, tone_clips):
    spec = ModelSpec(str(base_folder), SUPERB_LABELS)
    dataset = ClipDataset(tone_clips([1_600] * 4), spec.feature_extractor())
    before = pack(spec.build())
    assert not np.array_equal(
        before, trained(dataset, replace(ONE_EPOCH, model=str(base_folder)), spec.build())
    )


def test_fedprox_of_mu_0_is_fedavg_bit_for_bit_and_a_larger_mu_stays_nearer(dataset):
    settings = replace(ONE_EPOCH, recipe=replace(ONE_EPOCH.recipe, epochs_per_round=4))
    start = pack(SCRATCH.build())
    plain, mu_0, weak, strong = (
        trained(dataset, replace(settings, strategy=strategy))
        for strategy in (settings.strategy, FedProx(mu=0), FedProx(mu=1.0), FedProx(mu=100.0))
    )
    assert np.array_equal(plain, mu_0)
    distances = [float(np.linalg.norm(weights - start)) for weights in (plain, weak, strong)]
    assert distances == sorted(distances, reverse=True) and distances[2] < 0.9 * distances[0]


def test_weights_have_the_same_gradients_without_the_waveforms(tone_clips):
    batch = torch.randn(2, 1_600, generator=torch.Generator().manual_seed(0))
    models = SCRATCH.build().train(), SCRATCH.build().train()
    waveforms = []
    for model, spared in zip(models, (False, True), strict=True):
        first = model.wav2vec2.feature_extractor.conv_layers[0]
        first.register_forward_pre_hook(lambda module, args: waveforms.append(args[0]))
        if spared:
            with no_input_gradient(model):
                model(batch, labels=torch.tensor([0, 1])).loss.backward()
        else:
            model(batch, labels=torch.tensor([0, 1])).loss.backward()
        assert model.wav2vec2.feature_extractor._requires_grad
    assert [waveform.requires_grad for waveform in waveforms] == [True, False]
    for asked, spared in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(asked.grad, spared.grad)


def test_plain_attention_computes_the_same_and_is_undone(base_folder: Path):
    batch = torch.randn(2, 8_000, generator=torch.Generator().manual_seed(0))
    model = ModelSpec(str(base_folder), SUPERB_LABELS).build()  # in evaluation mode: no dropout
    losses, gradients = [], []
    for context in (nullcontext(), plain_attention(model)):
        with context:
            loss = model(batch, labels=torch.tensor([0, 1])).loss
        model.zero_grad()
        loss.backward()
        losses.append(loss)
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-5)
    assert model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("by_transformers", [True, False])
def test_a_frozen_feature_encoder_has_no_backward_pass(base_folder: Path, tone_clips, by_transformers):
    """However it was frozen: adapters freeze the parameters alone, and the encoder goes on asking."""
    spec = ModelSpec(str(base_folder), SUPERB_LABELS)
    model = spec.build()
    encoder = model.wav2vec2.feature_extractor
    encoder._requires_grad = not by_transformers
    frames = []
    encoder.register_forward_hook(lambda module, args, output: frames.append(output))
    dataset = ClipDataset(tone_clips([4_000] * 4), spec.feature_extractor())
    trained(dataset, replace(ONE_EPOCH, model=str(base_folder)), model)
    assert frames and not any(output.requires_grad for output in frames)


def test_a_trainer_that_is_done_is_freed_without_a_garbage_collection(dataset):
    settings = replace(ONE_EPOCH, recipe=replace(ONE_EPOCH.recipe, mask_time_prob=0.2), strategy=FedProx())
    trainer = local_trainer(SCRATCH.build(), dataset, settings, "cpu", 0)
    trainer.train()
    gone = [weakref.ref(part) for part in (trainer, trainer.model, trainer.optimizer, trainer.proximal)]
    gc.disable()
    try:
        del trainer
        assert [part() for part in gone] == [None] * 4
    finally:
        gc.enable()
