"""Local training spans the federation with one schedule; evaluation agrees with plain transformers."""

import os
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from sklearn.metrics import confusion_matrix

from superb_ks.model.packing import pack
from superb_ks.model.spec import ModelSpec
from superb_ks.settings import SUPERB_LABELS, FedProx, Head, Recipe, Settings
from superb_ks.training import data
from superb_ks.training.data import ClipDataset
from superb_ks.training.evaluation import evaluate
from superb_ks.training.local import (
    federated_cosine_schedule,
    local_trainer,
    lr_factor,
    round_seed,
    steps_per_round,
)
from superb_ks.training.trainer import autocast_dtype

SCRATCH = ModelSpec("scratch", SUPERB_LABELS, seed=1)
ONE_EPOCH = Recipe(epochs_per_round=1, batch_size=4)
FAST = Settings(
    rounds=3, recipe=Recipe(epochs_per_round=2, batch_size=4, learning_rate=1e-3), precision="float32"
)


def dataset_of(clips, spec: ModelSpec = SCRATCH) -> ClipDataset:
    return ClipDataset(clips, spec.feature_extractor())


def rates(trainer: transformers.Trainer) -> list[float]:
    """Train, and return the learning rate of each optimizer step."""
    used: list[float] = []
    trainer.optimizer.register_step_pre_hook(lambda opt, *_: used.append(opt.param_groups[0]["lr"]))
    trainer.train()
    return used


def test_learning_rate_factors_by_hand():
    # 10 steps, 2 of warm-up: thirds up to the peak, then half a cosine over the 8 that are left.
    assert [lr_factor(step, 10, 0.2) for step in range(3)] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert lr_factor(6, 10, 0.2) == pytest.approx(0.5)
    assert lr_factor(9, 10, 0.2) == pytest.approx(0.5 * (1 + np.cos(np.pi * 7 / 8)))
    assert lr_factor(10, 10, 0.2) == 0.0
    assert lr_factor(0, 10, 0.0) == 1.0


def test_rounds_joined_are_one_uninterrupted_schedule():
    steps = steps_per_round(10, FAST.complete_recipe)
    assert steps == 3 * 2
    one_round = replace(FAST, rounds=1, recipe=replace(FAST.recipe, epochs_per_round=6))

    def follow(settings: Settings, n_steps: int, round_num: int) -> list[float]:
        optimizer = torch.optim.AdamW(
            [torch.nn.Parameter(torch.zeros(1))], lr=settings.complete_recipe.learning_rate
        )
        schedule = federated_cosine_schedule(optimizer, 10, settings, round_num)
        used = []
        for _ in range(n_steps):
            used.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        return used

    joined = [rate for round_num in range(3) for rate in follow(FAST, steps, round_num)]
    assert joined == follow(one_round, 3 * steps, 0)
    assert max(joined) == 1e-3 and joined[-1] < 0.05e-3


def test_a_round_beyond_the_last_has_a_whole_schedule_and_a_seed_of_its_own(tone_clips):
    dataset = dataset_of(tone_clips([1_600] * 10))
    beyond = rates(local_trainer(SCRATCH.build(), dataset, FAST, "cpu", FAST.rounds))
    alone = rates(local_trainer(SCRATCH.build(), dataset, replace(FAST, rounds=1), "cpu", 0))
    assert beyond == alone
    assert max(beyond) == pytest.approx(1e-3)
    assert len({round_seed(FAST.seed, number) for number in range(4)}) == 4


def test_the_trainer_really_steps_by_that_schedule(tone_clips):
    model, dataset = SCRATCH.build(), dataset_of(tone_clips([1_600] * 10))
    used = [rate for r in range(3) for rate in rates(local_trainer(model, dataset, FAST, "cpu", r))]
    assert used == pytest.approx(
        [1e-3 * lr_factor(step, 18, FAST.complete_recipe.warmup_fraction) for step in range(18)]
    )


def test_each_round_starts_with_a_fresh_optimizer(tone_clips):
    model, dataset = SCRATCH.build(), dataset_of(tone_clips([1_600] * 4))
    first = local_trainer(model, dataset, FAST, "cpu", 0)
    first.train()
    assert next(iter(first.optimizer.state.values()))["step"] == 2
    second = local_trainer(model, dataset, FAST, "cpu", 1)
    assert not second.optimizer.state


def test_training_moves_trained_weights_alone_and_lowers_the_loss(tone_clips, base_folder: Path):
    spec = ModelSpec(str(base_folder), SUPERB_LABELS)
    dataset = dataset_of(tone_clips([4_000] * 12, n_labels=3), spec)
    settings = Settings(
        model=str(base_folder), rounds=1, recipe=Recipe(epochs_per_round=12, learning_rate=3e-3, batch_size=6)
    )
    model = spec.sealed().build()
    frozen = {n: p.clone() for n, p in model.named_parameters() if not p.requires_grad}
    before = evaluate(model, dataset, "cpu")
    result = local_trainer(model, dataset, settings, "cpu", 0).train()
    assert evaluate(model, dataset, "cpu")["loss"] < 0.9 * before["loss"]
    assert 0 < result.training_loss < before["loss"]
    assert frozen and all(torch.equal(p, frozen[n]) for n, p in model.named_parameters() if n in frozen)


def test_the_same_round_gives_the_same_weights_and_another_seed_others(tone_clips):
    dataset = dataset_of(tone_clips([1_600] * 8))

    def trained(seed: int) -> np.ndarray:
        settings = Settings(recipe=ONE_EPOCH, seed=seed, precision="float32")
        model = SCRATCH.build()
        local_trainer(model, dataset, settings, "cpu", 0).train()
        return pack(model)

    assert np.array_equal(trained(5), trained(5))
    assert not np.array_equal(trained(5), trained(6))


def test_no_two_rounds_or_neighbouring_seeds_share_a_seed():
    seeds = [round_seed(seed, round_num) for seed in range(20) for round_num in range(20)]
    assert len(set(seeds)) == 400


def test_bfloat16_is_for_training_alone_and_leaves_the_model_as_it_was(tone_clips):
    model, dataset = SCRATCH.build(), dataset_of(tone_clips([1_600] * 4))
    settings = Settings(recipe=ONE_EPOCH, precision="bfloat16")
    seen = []
    hook = model.projector.register_forward_hook(lambda *call: seen.append(call[-1].dtype))
    local_trainer(model, dataset, settings, "cpu", 0).train()
    evaluate(model, dataset, "cpu")
    hook.remove()
    assert seen == [torch.bfloat16, torch.float32]
    assert "forward" not in vars(model)
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_precision_follows_the_setting_and_the_processor():
    assert autocast_dtype("float32", "cpu") is None
    assert autocast_dtype("bfloat16", "cpu") is torch.bfloat16
    native = torch.cpu.get_capabilities().get("avx512_bf16", False)
    assert autocast_dtype("auto", "cpu") is (torch.bfloat16 if native else None)


def test_training_leaves_nothing_behind_and_says_nothing(tone_clips, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    dataset = dataset_of(tone_clips([1_600] * 4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trainer = local_trainer(SCRATCH.build(), dataset, FAST, "cpu", 0)
        trainer.train()
    assert os.listdir(tmp_path) == [] and not Path(trainer.args.output_dir).exists()
    assert capfd.readouterr() == ("", "")


def test_a_step_with_an_undefined_gradient_is_skipped_and_told(tone_clips, caplog):
    clips = tone_clips([1_600] * 8)
    clips.items[3][0][:] = np.nan
    settings = Settings(recipe=replace(ONE_EPOCH, batch_size=1), precision="float32")
    model = SCRATCH.build()
    before = pack(model)
    local_trainer(model, dataset_of(clips), settings, "cpu", 0).train()
    after = pack(model)
    assert np.isfinite(after).all() and not np.array_equal(after, before)
    assert "1 of 8 steps skipped" in caplog.text


def test_a_round_without_a_single_finite_gradient_fails(tone_clips):
    clips = tone_clips([1_600] * 2)
    for waveform, _ in clips.items:
        waveform[:] = np.nan
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        local_trainer(SCRATCH.build(), dataset_of(clips), FAST, "cpu", 0).train()


def test_the_model_is_on_its_device_before_its_weights_are_copied(tone_clips, base_folder: Path):
    """The meta device stands in for a GPU: a copy of what is still on the processor would be there."""
    spec = ModelSpec(str(base_folder), SUPERB_LABELS, tuning=Head())
    settings = Settings(model=spec.name, tuning=Head(), strategy=FedProx())
    model, dataset = spec.build(), dataset_of(tone_clips([4_000] * 4), spec)
    trainer = local_trainer(model, dataset, settings, "meta", 0)
    assert {start.device.type for _, start in trainer.proximal._pairs} == {"meta"}
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}


def test_nothing_to_train_on_or_to_evaluate_is_refused(tone_clips):
    empty = dataset_of(tone_clips([]))
    with pytest.raises(ValueError, match="nothing to train on"):
        local_trainer(SCRATCH.build(), empty, FAST, "cpu", 0)
    with pytest.raises(ValueError, match="nothing to evaluate"):
        evaluate(SCRATCH.build(), empty, "cpu")


@pytest.mark.parametrize("family", ["scratch", "base", "large"])
def test_evaluation_answers_as_the_plain_pipeline_does(
    family, tone_clips, base_folder, large_folder, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(data, "BATCH_SIZE", 4)
    name = {"scratch": "scratch", "base": str(base_folder), "large": str(large_folder)}[family]
    spec = ModelSpec(name, SUPERB_LABELS, seed=2)
    model, clips = spec.build(), tone_clips([16_000, 7_000, 16_000, 3_001, 7_000, 12_345, 16_000] * 3)
    with torch.no_grad():
        model.classifier.weight.mul_(10)  # untrained answers would hang on rounding
    scores = evaluate(model, dataset_of(clips, spec), "cpu")

    pipeline = transformers.pipeline(
        "audio-classification", model=model, feature_extractor=spec.feature_extractor(), device="cpu"
    )
    answers = [{a["label"]: a["score"] for a in pipeline(waveform, top_k=12)} for waveform, _ in clips]
    probabilities = np.array([[answer[label] for label in SUPERB_LABELS] for answer in answers])
    truth = [label for _, label in clips]
    predicted = probabilities.argmax(axis=1)
    assert len(set(predicted)) > 1, "a test that one constant answer would pass"
    assert np.array_equal(scores["confusion"], confusion_matrix(truth, predicted, labels=range(12)))
    assert scores["accuracy"] == np.mean(predicted == truth)
    of_truth = probabilities[range(len(truth)), truth]
    assert scores["loss"] == pytest.approx(-np.log(of_truth).mean(), rel=1e-4)
    assert scores["clips"] == 21


def test_evaluation_ignores_dropout_and_batch_size_and_keeps_the_mode(
    tone_clips, monkeypatch: pytest.MonkeyPatch
):
    model, dataset = SCRATCH.build().train(), dataset_of(tone_clips([4_000] * 5 + [2_000] * 2))
    scores = []
    for size in (1, 3, 32):
        monkeypatch.setattr(data, "BATCH_SIZE", size)
        scores.append(evaluate(model, dataset, "cpu"))
    assert model.training
    assert scores[0]["loss"] == pytest.approx(scores[1]["loss"]) == pytest.approx(scores[2]["loss"])
    assert all(np.array_equal(s["confusion"], scores[0]["confusion"]) for s in scores)
