"""A head on cached states learns what it would through the whole model, and never from another's states."""

import copy
import logging
import tempfile
import weakref
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from superb_ks.model.packing import pack, unpack
from superb_ks.model.spec import ModelSpec
from superb_ks.settings import SUPERB_LABELS, Recipe, Settings
from superb_ks.settings import Head as HeadTuning
from superb_ks.training import data, hidden_states
from superb_ks.training.augmentation import Augmentation
from superb_ks.training.data import ClipDataset
from superb_ks.training.evaluation import evaluate
from superb_ks.training.head import head_logits
from superb_ks.training.hidden_states import pool, pooled_hidden_states
from superb_ks.training.local import local_trainer
from superb_ks.training.proximal import ProximalTerm

LENGTHS = [4_000, 3_000, 4_000, 2_500] * 3
HEAD = Settings(
    tuning=HeadTuning(), rounds=2, recipe=Recipe(epochs_per_round=3, batch_size=5, learning_rate=1e-2)
)


def spec_of(folder: Path) -> ModelSpec:
    return ModelSpec(str(folder), SUPERB_LABELS, seed=1, tuning=HeadTuning())


class Passes:
    """Counts the clips that go through an upstream."""

    def __init__(self, model) -> None:
        self.clips = 0
        model.base_model.register_forward_hook(self._count)

    def _count(self, module, args, output) -> None:
        self.clips += len(output.last_hidden_state)


@pytest.fixture(params=["base", "large", "hubert", "wavlm"])
def folder(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(f"{request.param}_folder")


@pytest.fixture
def model_and_dataset(base_folder: Path, tone_clips):
    spec = spec_of(base_folder)
    return spec.build(), ClipDataset(tone_clips(LENGTHS), spec.feature_extractor())


def with_random_head(model):
    """Layer weights and biases away from where they start, so that a mistake in either shows."""
    draw = np.random.default_rng(0)
    unpack(draw.normal(0, 0.5, pack(model).shape).astype(np.float32), model)
    return model


def test_logits_and_gradients_are_those_through_the_whole_model(folder: Path, tone_clips):
    """On a batch of mixed lengths: padded with a mask for the families that have one."""
    spec = spec_of(folder)
    model = with_random_head(spec.build())
    dataset = ClipDataset(tone_clips(LENGTHS), spec.feature_extractor())
    batch = dataset.collate([dataset[index] for index in range(6)])
    labels = batch.pop("labels")
    whole = model(**batch).logits
    cross_entropy(whole, labels).backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}
    model.zero_grad()
    with torch.inference_mode():
        means = pool(model, batch)
    short = head_logits(model, means.clone())
    cross_entropy(short, labels).backward()
    assert means.shape == (6, 3, 32)
    assert torch.allclose(short, whole, atol=1e-5)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert torch.allclose(parameter.grad, expected[name], atol=1e-5), name


def test_cached_scores_are_those_of_the_whole_model(folder: Path, tone_clips):
    spec = spec_of(folder)
    model = with_random_head(spec.build())
    dataset = ClipDataset(tone_clips(LENGTHS), spec.feature_extractor())
    cached = evaluate(model, dataset, "cpu")
    plain = copy.deepcopy(model)
    plain.base_model.requires_grad_(True)  # no longer a frozen upstream: nothing may be cached
    whole = evaluate(plain, dataset, "cpu")
    assert np.array_equal(cached["confusion"], whole["confusion"])
    assert cached["loss"] == pytest.approx(whole["loss"], rel=1e-5)
    assert cached["confusion"].any(axis=0).sum() > 1, "a test that one constant answer would pass"


def test_each_clip_goes_through_the_upstream_once(model_and_dataset, base_folder: Path):
    model, dataset = model_and_dataset
    passes = Passes(model)
    for round_num in range(2):
        local_trainer(model, dataset, HEAD, "cpu", round_num).train()
        evaluate(model, dataset, "cpu")
    assert passes.clips == len(LENGTHS)


def test_a_changed_or_another_upstream_is_computed_anew(model_and_dataset, base_folder: Path):
    model, dataset = model_and_dataset
    first = pooled_hidden_states(model, dataset, "cpu")
    assert pooled_hidden_states(model, dataset, "cpu") is first
    assert first.labels.tolist() == [label for _, label in dataset.clips.items]
    with torch.no_grad():
        model.base_model.encoder.layers[1].final_layer_norm.bias[3] += 1e-3
    changed = pooled_hidden_states(model, dataset, "cpu")
    assert not torch.equal(changed.states, first.states)
    other = spec_of(base_folder).build()
    passes = Passes(other)
    assert torch.equal(pooled_hidden_states(other, dataset, "cpu").states, first.states)
    assert passes.clips == len(LENGTHS)


def test_a_trained_upstream_has_no_states_to_keep(model_and_dataset, base_folder: Path):
    model = ModelSpec(str(base_folder), SUPERB_LABELS).build()
    with pytest.raises(ValueError, match="the upstream is trained"):
        pooled_hidden_states(model, model_and_dataset[1], "cpu")


def test_states_are_those_of_whole_clips_whatever_is_done_to_them_in_training(model_and_dataset):
    model, dataset = model_and_dataset
    takes = dataset.for_training(Augmentation(seed=0, shift_seconds=0.1))
    whole = pooled_hidden_states(model, dataset, "cpu").states
    assert torch.equal(pooled_hidden_states(model, takes, "cpu").states, whole)


def test_states_go_with_their_data_set(model_and_dataset):
    model, dataset = model_and_dataset
    again = ClipDataset(dataset.clips, dataset.extractor)
    kept = weakref.ref(pooled_hidden_states(model, again, "cpu"))
    assert kept() is not None
    del again
    assert kept() is None


def test_a_large_data_set_lies_in_a_temporary_file(
    model_and_dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    model, dataset = model_and_dataset
    small = pooled_hidden_states(model, dataset, "cpu").states
    monkeypatch.setattr(hidden_states, "MAX_MEMORY_BYTES", 0)
    monkeypatch.setattr(data, "BATCH_SIZE", 2)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dataset = ClipDataset(dataset.clips, dataset.extractor)
    large = pooled_hidden_states(model, dataset, "cpu").states
    assert str(tmp_path) in Path("/proc/self/maps").read_text()
    assert list(tmp_path.iterdir()) == [], "nothing is left of it, however the process ends"
    # Smaller batches round otherwise in the last bit.
    assert torch.allclose(large, small, atol=1e-5)
    local_trainer(model, dataset, HEAD, "cpu", 0).train()


def test_a_clip_without_defined_states_is_refused(model_and_dataset):
    model, dataset = model_and_dataset
    dataset.clips.items[4][0][7] = np.nan
    with pytest.raises(FloatingPointError, match="infinite or undefined"):
        local_trainer(model, dataset, HEAD, "cpu", 0).train()


def test_a_head_steps_by_the_federations_schedule_and_repeats_itself(model_and_dataset, base_folder: Path):
    from superb_ks.training.local import lr_factor

    _, dataset = model_and_dataset

    def trained(seed: int) -> tuple[np.ndarray, list[float]]:
        model, rates = spec_of(base_folder).build(), []
        for round_num in range(2):
            settings = replace(HEAD, seed=seed)
            trainer = local_trainer(model, dataset, settings, "cpu", round_num)
            trainer.optimizer.register_step_pre_hook(lambda o, *_: rates.append(o.param_groups[0]["lr"]))
            assert trainer.train().global_step == 9
        return pack(model), rates

    (weights, rates), (again, _), (other, _) = trained(5), trained(5), trained(6)
    assert rates == pytest.approx(
        [1e-2 * lr_factor(s, 18, HEAD.complete_recipe.warmup_fraction) for s in range(18)]
    )
    assert np.array_equal(weights, again)
    assert not np.array_equal(weights, other)


def test_the_seconds_of_the_passes_are_told(model_and_dataset, monkeypatch: pytest.MonkeyPatch):
    """By a clock of three ticks: 8 s until the means are there, 6 s for 9 steps, of which 3 are a pass."""
    ticks = iter([100.0, 108.0, 114.0])
    monkeypatch.setattr("superb_ks.training.head.time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    model, dataset = model_and_dataset
    metrics = local_trainer(model, dataset, HEAD, "cpu", 0).train().metrics
    assert metrics == {"first_pass_seconds": 8.0, "later_pass_seconds": 2.0}


def test_a_gradient_term_takes_part(model_and_dataset):
    model, dataset = model_and_dataset
    trainer = local_trainer(model, dataset, HEAD, "cpu", 0)
    before = pack(model)

    class Against(ProximalTerm):
        """Takes every gradient back, so that nothing is left to step by."""

        calls = 0

        def add_gradient(self) -> None:
            self.calls += 1
            for parameter in model.parameters():
                if parameter.grad is not None:
                    parameter.grad.zero_()

    trainer.proximal = against = Against(model.parameters(), mu=1.0)
    trainer.optimizer.param_groups[0]["weight_decay"] = 0.0
    assert trainer.train().global_step == 9
    assert against.calls == 9
    assert np.array_equal(pack(model), before)


def test_a_rate_that_is_far_too_high_is_told(model_and_dataset):
    model, dataset = model_and_dataset
    trainer = local_trainer(model, dataset, HEAD, "cpu", 0)
    with torch.no_grad():
        model.classifier.weight.fill_(float("inf"))
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        trainer.train()


def test_the_modules_say_nothing_where_all_is_well(model_and_dataset, caplog):
    model, dataset = model_and_dataset
    with caplog.at_level(logging.INFO):
        local_trainer(model, dataset, HEAD, "cpu", 0).train()
        evaluate(model, dataset, "cpu")
    assert caplog.text == ""
