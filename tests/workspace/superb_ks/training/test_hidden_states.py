"""A head on cached means learns what it would through the whole model, and never from another's means."""

import copy
import logging
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy

from superb_ks.model.packing import pack, unpack
from superb_ks.model.spec import ModelSpec
from superb_ks.settings import SUPERB_LABELS, Recipe, Settings
from superb_ks.settings import Head as HeadTuning
from superb_ks.training import hidden_states, means_store
from superb_ks.training.data import ClipDataset
from superb_ks.training.evaluation import evaluate
from superb_ks.training.head import HeadTrainer, head_logits
from superb_ks.training.hidden_states import means_of, time_means, upstream_key
from superb_ks.training.local import local_trainer
from superb_ks.training.means_store import MeansStore

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
        means = time_means(model, batch)
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
        assert isinstance(local_trainer(model, dataset, HEAD, "cpu", round_num), HeadTrainer)
        local_trainer(model, dataset, HEAD, "cpu", round_num).train()
        evaluate(model, dataset, "cpu")
    assert passes.clips == len(LENGTHS)

    # Another process: the same upstream with another head, the same clips with others among them.
    later = spec_of(base_folder).build()
    passes = Passes(later)
    items = [*dataset.clips.items, (dataset.clips.items[0][0][::-1].copy(), 3)]
    means = means_of(later, ClipDataset(items, dataset.extractor), "cpu")
    assert passes.clips == 1
    assert means.labels.tolist() == [label for _, label in items]
    first = means_of(model, dataset, "cpu")
    assert torch.equal(means[torch.arange(12)], first[torch.arange(12)])


def test_a_clip_that_occurs_twice_is_computed_once(model_and_dataset):
    model, dataset = model_and_dataset
    passes = Passes(model)
    twice = ClipDataset([*dataset.clips.items, *dataset.clips.items], dataset.extractor)
    means = means_of(model, twice, "cpu")
    assert (len(means), passes.clips) == (24, 12)
    assert torch.equal(means[torch.arange(12)], means[torch.arange(12, 24)])


def test_another_upstream_or_extractor_is_another_key(base_folder: Path, hubert_folder: Path):
    spec = spec_of(base_folder)
    extractor = spec.feature_extractor()
    key = upstream_key(spec.build(), extractor, "cpu")
    other_head = ModelSpec(str(base_folder), ("a", "b"), seed=9, tuning=HeadTuning()).build()
    assert upstream_key(other_head, extractor, "cpu") == key
    on_gpu = upstream_key(spec.build(), extractor, "cuda:1")
    assert on_gpu == upstream_key(spec.build(), extractor, "cuda") != key
    model = spec.build()
    assert upstream_key(model, extractor, "cpu") == key
    with torch.no_grad():
        model.base_model.encoder.layers[1].final_layer_norm.bias[3] += 1e-3
    assert upstream_key(model, extractor, "cpu") != key, "noticed, although the same model was seen before"
    activation = spec.build()
    activation.config.hidden_act = "relu"
    assert upstream_key(activation, extractor, "cpu") != key
    louder = spec.feature_extractor()
    louder.do_normalize = False
    assert upstream_key(spec.build(), louder, "cpu") != key
    assert upstream_key(spec_of(hubert_folder).build(), extractor, "cpu") != key


def test_a_trained_upstream_has_no_key(base_folder: Path):
    model = ModelSpec(str(base_folder), SUPERB_LABELS).build()
    with pytest.raises(ValueError, match="the upstream is trained"):
        upstream_key(model, spec_of(base_folder).feature_extractor(), "cpu")


def test_damaged_and_foreign_files_are_passed_over(model_and_dataset, base_folder: Path, caplog):
    model, dataset = model_and_dataset
    expected = means_of(model, dataset, "cpu")[torch.arange(12)]
    folder = MeansStore(upstream_key(model, dataset.extractor, "cpu")).folder
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    save_file({"means": torch.zeros(1)}, folder / "other.safetensors")
    for damage in (whole[:-5], whole[:3], b"", b"\xff" * 64):
        file.write_bytes(damage)
        caplog.clear()
        again = spec_of(base_folder).build()
        passes = Passes(again)
        means = means_of(again, ClipDataset(dataset.clips, dataset.extractor), "cpu")
        assert passes.clips == 12
        assert torch.equal(means[torch.arange(12)], expected)
        assert f"{file} is not used" in caplog.text and "other.safetensors is not used" in caplog.text
        for path in folder.glob("*.safetensors"):
            if path not in (file, folder / "other.safetensors"):
                path.unlink()


def test_means_of_another_upstream_are_not_taken_from_a_copied_file(model_and_dataset, caplog):
    model, dataset = model_and_dataset
    means_of(model, dataset, "cpu")
    ours, theirs = MeansStore(upstream_key(model, dataset.extractor, "cpu")), MeansStore("f" * 64)
    ours.folder.rename(theirs.folder)
    assert theirs.load() == {}
    assert "no hidden states of this upstream" in caplog.text


def test_two_writers_do_not_meet_and_nothing_half_written_is_read(cache: Path):
    stores = [MeansStore("a" * 64) for _ in range(2)]
    rows = {bytes([n]) * 32: torch.full((3, 4), float(n)) for n in range(4)}
    clips = list(rows)
    stores[0].add({clip: rows[clip] for clip in clips[:3]})
    stores[1].add({clip: rows[clip] for clip in clips[1:]})
    (stores[0].folder / "half.partial").write_bytes(b"\x00" * 8)
    known = MeansStore("a" * 64).load()
    assert set(known) == set(clips)
    assert all(torch.equal(known[clip], rows[clip]) for clip in clips)
    assert stores[0].folder.is_relative_to(cache)


def test_what_was_not_used_for_longest_goes_first(monkeypatch: pytest.MonkeyPatch):
    stores = [MeansStore(letter * 64) for letter in "abc"]
    row = {b"x" * 32: torch.zeros(3, 1_000)}
    for age, store in zip((300, 200), stores[:2], strict=True):
        store.add(row)
        (file,) = store.folder.iterdir()
        os.utime(file, (file.stat().st_mtime - age,) * 2)
        size = file.stat().st_size
    abandoned = stores[0].folder / "killed.partial"
    abandoned.write_bytes(b"x")
    os.utime(abandoned, (file.stat().st_mtime - 2 * means_store.STALE_SECONDS,) * 2)
    stores[0].load()  # used just now
    monkeypatch.setattr(means_store, "MAX_BYTES", 2 * size)
    stores[2].add(row)
    assert [len(list(store.folder.iterdir())) for store in stores] == [1, 0, 1]


def test_what_another_envoy_removes_first_is_passed_over(cache: Path, caplog):
    """A link to nothing is listed and cannot be looked at, as a file that goes in between."""
    store, row = MeansStore("a" * 64), {b"x" * 32: torch.ones(3, 4)}
    store.folder.mkdir(parents=True)
    for name in ("gone.safetensors", "gone.partial"):
        (store.folder / name).symlink_to(cache / "nothing")
    kept = store.add(row)
    assert torch.equal(kept[b"x" * 32], row[b"x" * 32])
    assert kept is not row, "memory-mapped, not what was given"
    assert caplog.text == ""


def test_a_cache_that_cannot_be_written_costs_a_warning_and_no_result(
    model_and_dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
):
    model, dataset = model_and_dataset
    (tmp_path / "file").touch()
    monkeypatch.setenv("SUPERB_CACHE", str(tmp_path / "file"))
    passes = Passes(model)
    for _ in range(2):
        local_trainer(model, dataset, HEAD, "cpu", 0).train()
    assert passes.clips == len(LENGTHS)
    assert "cannot be written" in caplog.text


def test_a_large_data_set_is_read_from_disk_in_chunks(model_and_dataset, monkeypatch: pytest.MonkeyPatch):
    model, dataset = model_and_dataset
    small = means_of(model, dataset, "cpu")[torch.arange(12)]
    for path in MeansStore(upstream_key(model, dataset.extractor, "cpu")).folder.iterdir():
        path.unlink()
    monkeypatch.setattr(hidden_states, "IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(hidden_states, "CHUNK_BYTES", 1)
    monkeypatch.setattr(hidden_states, "BATCH_SIZE", 2)
    dataset = ClipDataset(dataset.clips, dataset.extractor)
    large = means_of(model, dataset, "cpu")
    assert len(list(MeansStore(upstream_key(model, dataset.extractor, "cpu")).folder.iterdir())) > 3
    # Smaller batches round otherwise in the last bit.
    assert torch.allclose(large[torch.arange(12)], small, atol=1e-5)
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
    metrics = local_trainer(*model_and_dataset, HEAD, "cpu", 0).train().metrics
    assert metrics == {"first_pass_seconds": 8.0, "later_pass_seconds": 2.0}


def test_a_sampler_and_a_gradient_term_take_part(model_and_dataset):
    model, dataset = model_and_dataset
    trainer = local_trainer(model, dataset, HEAD, "cpu", 0)
    before = pack(model)

    class Against:
        """Takes every gradient back, so that nothing is left to step by."""

        calls = 0

        def add_gradient(self) -> None:
            self.calls += 1
            for parameter in model.parameters():
                if parameter.grad is not None:
                    parameter.grad.zero_()

    trainer.sampler, trainer.proximal = [0, 1, 2], Against()
    trainer.optimizer.param_groups[0]["weight_decay"] = 0.0
    assert trainer.train().global_step == 9
    assert trainer.proximal.calls == 9
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
