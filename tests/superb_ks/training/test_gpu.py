"""What differs on a GPU: where the weights lie, the number format, and nothing that a user sees."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from superb_ks.collaborator.shared_memory_model import SharedMemoryModel
from superb_ks.model.packing import pack, unpack
from superb_ks.model.spec import ModelSpec
from superb_ks.settings import SUPERB_LABELS, FedProx, Recipe, Settings, tuning_named
from superb_ks.training.data import ClipDataset
from superb_ks.training.evaluation import evaluate
from superb_ks.training.local import local_trainer

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no GPU")

TUNINGS = ("full", "lora", "head")


def of_tuning(name: str) -> tuple[Settings, ModelSpec]:
    epochs = 30 if name == "head" else 2
    settings = Settings(tuning=tuning_named(name), recipe=Recipe(epochs_per_round=epochs, batch_size=8))
    return settings, ModelSpec.of(settings, SUPERB_LABELS)


def seconds_of(clips: type, count: int, spec: ModelSpec) -> ClipDataset:
    return ClipDataset(clips([16_000] * count), spec.feature_extractor())


@pytest.mark.parametrize("tuning", TUNINGS)
def test_a_round_trains_the_vector_that_is_sent(tuning: str, tone_clips: type) -> None:
    settings, spec = of_tuning(tuning)
    clips, model = seconds_of(tone_clips, 20, spec), spec.build()
    received = pack(model)
    lying = SharedMemoryModel(model)
    unpack(received, model)
    before = evaluate(model, clips, "cuda")["loss"]
    local_trainer(model, clips, settings, "cuda:0", 0).train()
    after = evaluate(model, clips, "cuda")["loss"]
    sent = lying.pack(model)
    assert sent is lying.vector and np.isfinite(sent).all() and not np.array_equal(sent, received)
    assert float(after) < float(before)
    assert all(parameter.device.type == "cuda" for parameter in model.parameters())
    again = spec.build()
    unpack(sent, again)
    assert evaluate(again, clips, "cpu")["loss"] == pytest.approx(after, rel=1e-2)


@pytest.mark.parametrize("tuning", TUNINGS)
def test_scores_are_those_of_the_processor(tuning: str, tone_clips: type) -> None:
    _, spec = of_tuning(tuning)
    clips = seconds_of(tone_clips, 12, spec)
    there, here = evaluate(spec.build(), clips, "cuda"), evaluate(spec.build(), clips, "cpu")
    assert there["clips"] == here["clips"] == 12
    assert there["loss"] == pytest.approx(here["loss"], rel=1e-2)


def test_the_same_seed_trains_alike_and_leaves_the_generators_as_they_were(tone_clips: type) -> None:
    settings, spec = of_tuning("full")
    settings = replace(
        settings,
        strategy=FedProx(mu=0.1),
        recipe=replace(settings.recipe, mask_time_prob=0.1, mask_feature_prob=0.1, shift_seconds=0.1),
    )
    trained = []
    for drawn in range(2):
        torch.rand(drawn, device="cuda")
        state, model = torch.cuda.get_rng_state(), spec.build()
        local_trainer(model, seconds_of(tone_clips, 20, spec), settings, "cuda", 0).train()
        assert torch.equal(torch.cuda.get_rng_state(), state)
        trained.append(pack(model))
    # Some of CUDA's sums are taken in an order that differs from run to run.
    np.testing.assert_allclose(trained[0], trained[1], atol=2e-3)
