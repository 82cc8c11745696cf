"""The training benchmark compares like with like."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.training import run as training
from benchmarks.training.federated import tiny_settings
from benchmarks.training.job import NoiseClips, noise_dataset, plain_evaluation, plain_training, unfrozen
from benchmarks.training.shard import LABELS, NoiseShardDescriptor
from superb_ks.model.spec import ModelSpec
from superb_ks.settings import SUPERB_LABELS, Full, Recipe, Settings
from superb_ks.training.evaluation import evaluate
from superb_ks.training.local import local_trainer


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
    loss = plain_training(
        model, noise_dataset(spec, 4), Settings(recipe=Recipe(epochs_per_round=1, batch_size=2))
    )
    assert np.isfinite(loss)
    for (name, parameter), before in zip(model.named_parameters(), untouched.parameters(), strict=True):
        if name != "wav2vec2.masked_spec_embed":
            assert torch.equal(parameter, before) == (not parameter.requires_grad), name


@pytest.mark.parametrize(("naive", "attention", "waveforms"), [(False, "eager", False), (True, "sdpa", True)])
def test_the_plain_loop_has_the_tasks_settings_and_the_naive_one_has_not(
    naive: bool, attention: str, waveforms: bool
) -> None:
    spec, settings = (
        ModelSpec("scratch", SUPERB_LABELS),
        Settings(recipe=Recipe(epochs_per_round=1, batch_size=2)),
    )
    model = spec.build()
    seen = []
    first = model.wav2vec2.feature_extractor.conv_layers[0]
    first.register_forward_pre_hook(
        lambda module, args: seen.append((model.config._attn_implementation, args[0].requires_grad))
    )
    plain_training(model, noise_dataset(spec, 2), settings, naive=naive)
    assert seen == [(attention, waveforms)]
    seen.clear()
    local_trainer(model, noise_dataset(spec, 2), settings, "cpu", 0).train()
    assert seen == [("eager", False)]


def test_the_original_setting_trains_everything_and_asks_for_all() -> None:
    model = unfrozen(ModelSpec("tiny", SUPERB_LABELS).build())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert model.wav2vec2.feature_extractor._requires_grad


def test_a_tuning_is_measured_in_all_ways() -> None:
    figures = training.measure_speed("tiny", "lora", 2, 1, "cpu")
    assert (figures["clips"], figures["batch_size"], figures["device"]) == (2, 8, "cpu")
    for way in ("plain", "naive", "original"):
        ratio = figures["task_clips_per_second"] / figures[f"{way}_clips_per_second"]
        assert figures[f"task_to_{way}"] == pytest.approx(ratio)


def test_a_heads_first_pass_is_measured_each_time() -> None:
    figures = training.measure_head("tiny", "head", 2, 2, "cpu")
    assert figures["first_to_later"] == figures["first_pass_seconds"] / figures["later_pass_seconds"] > 1
    assert figures["plain_pass_seconds"] > figures["later_pass_seconds"]


def test_both_evaluations_score_alike() -> None:
    spec = ModelSpec("tiny", SUPERB_LABELS)
    clips = noise_dataset(spec, 40)
    assert plain_evaluation(spec.build(), clips) == evaluate(spec.build(), clips, "cpu")["accuracy"]
    figures = training.measure_evaluation("tiny", "full", 2, 1, "cpu")
    ratio = figures["task_evaluated_per_second"] / figures["plain_evaluated_per_second"]
    assert figures["evaluation_to_plain"] == pytest.approx(ratio)


def test_a_gpu_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert training.main(["--device", "cuda"]) == 2
    assert capsys.readouterr().err == "--device cuda: PyTorch sees no GPU here; legal: cpu\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--model", "scratch", "--tuning", "head"], "--tuning: 'head' with --model scratch; legal: full"),
        (["--model", "tiny", "scratch", "--tuning", "full", "lora"],
         "--tuning: 'lora' with --model scratch; legal: full"),
        (["--repeats", "0"], "--repeats: '0'; legal: a whole number from 1"),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_refused(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        training.main(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith(f"error: argument {told}")


def test_models_that_nobody_named_are_those_with_the_tuning() -> None:
    assert training.parse([]).pairs == [(name, "full") for name in training.MODELS]
    assert training.parse(["--tuning", "head"]).pairs == [("tiny", "head"), ("base", "head")]
    assert training.parse(["--model", "--federated"]).pairs == []


def test_both_sides_of_the_federated_ratio_train_the_pretrained_tiny_model() -> None:
    settings = tiny_settings(director_port=1, aggregator_port=2)
    assert (settings.model, settings.tuning) == ("tiny", Full())
