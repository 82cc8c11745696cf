"""What each tuning trains and sends, on every family; and that a merged model needs nobody's help."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from superb_ks.model.fingerprint import digest
from superb_ks.model.packing import pack, trainable_layout, unpack
from superb_ks.model.spec import ModelMismatch, ModelSpec
from superb_ks.model.tuning import is_head_tuned, merged
from superb_ks.settings import SUPERB_LABELS, TUNINGS, Full, Lora, Recipe, Settings, tuning_named
from superb_ks.training.data import ClipDataset
from superb_ks.training.evaluation import evaluate
from superb_ks.training.local import local_trainer

FAMILIES = ("base", "large", "hubert", "wavlm")
EVERY = [(family, tuning) for family in FAMILIES for tuning in TUNINGS]
SOUND = torch.randn(2, 8_000, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def folder(family: str, request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"{family}_folder"))


def spec_of(folder: str, tuning: str, **more) -> ModelSpec:
    return ModelSpec(folder, SUPERB_LABELS, tuning=tuning_named(tuning), **more)


def trained_names(model) -> set[str]:
    return {slot.name.removeprefix("base_model.model.") for slot in trainable_layout(model)}


@pytest.mark.parametrize(("family", "tuning"), EVERY)
def test_what_is_trained_gets_a_gradient_and_the_feature_encoder_none(family, tuning, folder):
    model = spec_of(folder, tuning).build().train()
    model.config.layerdrop = 0.0  # which would leave out a layer now and then
    model(SOUND, labels=torch.tensor([0, 1])).loss.backward()
    untouched = {n for n, p in model.named_parameters() if p.requires_grad and p.grad is None}
    # Its embedding stands in for masked frames, which may be none in a clip of half a second.
    assert {name for name in untouched if "masked_spec_embed" not in name} == set()
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)
    (encoder,) = [m for n, m in model.named_modules() if n.endswith("feature_extractor")]
    assert not encoder(SOUND).requires_grad, "activations of frozen convolutions are kept"


@pytest.mark.parametrize("family", FAMILIES)
def test_full_trains_all_but_the_feature_encoder(family, folder):
    model = spec_of(folder, "full").build()
    everything = {name for name, _ in model.named_parameters()}
    assert everything - trained_names(model) == {n for n in everything if "feature_extractor" in n} != set()


@pytest.mark.parametrize("family", FAMILIES)
def test_lora_trains_adapters_and_the_head(family, folder):
    names = trained_names(spec_of(folder, "lora").build())
    adapters = {name for name in names if "lora_" in name}
    assert names - adapters == {
        "projector.weight", "projector.bias", "classifier.weight", "classifier.bias"
    }  # fmt: skip
    adapted = {name.split(".")[-4] for name in adapters}
    feed_forward = {"intermediate_dense", "output_dense"}
    # WavLM's attention takes the weights of its projections itself: an adapter there would do nothing.
    attention = set() if family == "wavlm" else {"q_proj", "k_proj", "v_proj", "out_proj"}
    assert adapted == feed_forward | attention
    assert len(adapters) == 2 * 2 * len(adapted)  # two matrices, two layers


@pytest.mark.parametrize("family", FAMILIES)
def test_head_trains_layer_weights_projector_and_classifier(family, folder):
    model = spec_of(folder, "head").build()
    assert trained_names(model) == {
        "layer_weights", "projector.weight", "projector.bias", "classifier.weight", "classifier.bias"
    }  # fmt: skip
    assert model.layer_weights.tolist() == pytest.approx([1 / 3] * 3)
    assert is_head_tuned(model)
    assert not any(is_head_tuned(spec_of(folder, tuning).build()) for tuning in ("full", "lora"))


def test_at_most_two_percent_of_a_base_size_model_travel_with_adapters():
    from superb_ks.model.tuning import tune

    with torch.device("meta"):
        config = transformers.Wav2Vec2Config()
        config.num_labels = 12
        models = [transformers.Wav2Vec2ForSequenceClassification(config) for _ in range(2)]
    full, lora = tune(models[0], Full()), tune(models[1], Lora())
    total = sum(p.numel() for p in full.parameters())
    assert 94e6 < total < 96e6
    # By hand, at rank 8: 12 layers of four projections 768 to 768 and two between 768 and 3,072; the head.
    adapters = 12 * 8 * (4 * (768 + 768) + 2 * (768 + 3072))
    head = 256 * (768 + 1) + 12 * (256 + 1)
    assert trainable_layout(lora)[-1].stop == adapters + head
    assert adapters + head <= 0.02 * total


@pytest.mark.parametrize(("family", "tuning"), EVERY)
def test_all_nodes_arrive_at_the_same_model_without_touching_global_seeds(
    family, tuning, folder, global_seeds_untouched
):
    spec = spec_of(folder, tuning, seed=3).sealed()
    first, second = spec.build(), spec.build()
    assert digest(first) == digest(second) == spec.digest
    assert np.array_equal(pack(first), pack(second))
    assert not np.array_equal(pack(first), pack(spec_of(folder, tuning, seed=4).build()))


def test_a_node_that_tunes_otherwise_is_refused(base_folder: Path):
    seals = {tuning: spec_of(str(base_folder), tuning).sealed().digest for tuning in TUNINGS}
    assert len(set(seals.values())) == 3
    with pytest.raises(ModelMismatch, match="frozen weights differ.*trainable layers differ"):
        spec_of(str(base_folder), "head", digest=seals["lora"]).build()
    with pytest.raises(ModelMismatch, match="trainable layers differ"):
        ModelSpec(str(base_folder), SUPERB_LABELS, tuning=Lora(rank=4), digest=seals["lora"]).build()


def test_an_unknown_tuning_is_named_with_the_legal_ones(base_folder: Path):
    legal = re.escape("Full(...) or Lora(...) or Head(...) with model '")
    with pytest.raises(ValueError, match=f"^tuning is 'all'; legal: {legal}"):
        ModelSpec(str(base_folder), SUPERB_LABELS, tuning="all")
    with pytest.raises(ValueError, match=r"^tuning is Lora\(.*\); legal: Full\(...\) with model 'scratch'$"):
        spec_of("scratch", "lora")


@pytest.mark.parametrize(("family", "tuning"), EVERY)
def test_training_lowers_the_loss_and_what_is_saved_loads_alone(family, tuning, folder, tone_clips, tmp_path):
    """From training to the plain pipeline, as the notebook does it."""
    rate = {"full": 1e-3, "lora": 5e-3, "head": 1e-2}[tuning]
    settings = Settings(
        model=folder,
        tuning=tuning_named(tuning),
        recipe=Recipe(epochs_per_round=20, batch_size=6, learning_rate=rate, warmup_fraction=0.2),
        rounds=1,
        precision="float32",
    )
    spec = ModelSpec.of(settings, SUPERB_LABELS)
    dataset = ClipDataset(tone_clips([4_000, 4_000, 3_000] * 4, n_labels=3), spec.feature_extractor())
    model = spec.build()
    # Clips of a quarter of a second are hardly longer than one masked stretch.
    model.config.update({"apply_spec_augment": False, "layerdrop": 0.0})
    frozen = {n: p.clone() for n, p in model.named_parameters() if not p.requires_grad}
    before = evaluate(model, dataset, "cpu")
    result = local_trainer(model, dataset, settings, "cpu", 0).train()
    after = evaluate(model, dataset, "cpu")
    assert after["loss"] < 0.9 * before["loss"]
    assert 0 < result.training_loss < 1.1 * before["loss"]
    assert all(torch.equal(p, frozen[n]) for n, p in model.named_parameters() if n in frozen)

    received = spec.build()
    unpack(pack(model), received)
    plain = merged(received)
    assert type(plain).__name__.endswith("ForSequenceClassification")
    plain.save_pretrained(tmp_path)
    again = transformers.AutoModelForAudioClassification.from_pretrained(tmp_path)
    with torch.inference_mode():
        assert torch.allclose(again(SOUND).logits, model.eval()(SOUND).logits, atol=1e-5)
    assert evaluate(again, dataset, "cpu")["loss"] == pytest.approx(after["loss"], rel=1e-4)


def test_merging_leaves_the_model_with_adapters_as_it_was(base_folder: Path):
    model = spec_of(str(base_folder), "lora").build()
    unpack(np.random.default_rng(0).normal(0, 0.1, pack(model).shape).astype(np.float32), model)
    before = pack(model)
    plain, again = merged(model), merged(model)
    assert np.array_equal(pack(model), before)
    assert not any("lora" in name or "base_layer" in name for name in plain.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), again.parameters(), strict=True))
    unmerged = spec_of(str(base_folder), "lora").build()
    q_proj = "wav2vec2.encoder.layers.0.attention.q_proj"
    moved = plain.get_submodule(q_proj).weight - unmerged.get_submodule(f"base_model.model.{q_proj}").weight
    part = model.get_submodule(f"base_model.model.{q_proj}")
    by_hand = 16.0 / 8 * part.lora_B["default"].weight @ part.lora_A["default"].weight
    assert torch.allclose(moved, by_hand, atol=1e-6)


@pytest.mark.parametrize("tuning", ["full", "head"])
def test_a_model_without_adapters_is_its_own_merged_one(tuning, base_folder: Path):
    model = spec_of(str(base_folder), tuning).build()
    assert merged(model) is model


def test_only_lora_needs_peft(base_folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    for tuning in ("full", "head"):
        merged(spec_of(str(base_folder), tuning).build())
    with pytest.raises(ImportError):
        spec_of(str(base_folder), "lora").build()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
@pytest.mark.parametrize(("family", "tuning"), EVERY)
def test_a_gpu_trains_as_well(family, tuning, folder, tone_clips):
    recipe = Recipe(epochs_per_round=4, learning_rate=1e-3)
    settings = Settings(model=folder, tuning=tuning_named(tuning), recipe=recipe, rounds=1)
    spec = ModelSpec.of(settings, SUPERB_LABELS)
    dataset = ClipDataset(tone_clips([4_000] * 12, n_labels=3), spec.feature_extractor())
    model = spec.build()
    before = evaluate(model, dataset, "cuda:0")
    assert before["loss"] == pytest.approx(evaluate(spec.build(), dataset, "cpu")["loss"], rel=1e-2)
    local_trainer(model, dataset, settings, "cuda:0", 0).train()
    assert evaluate(model, dataset, "cuda:0")["loss"] < before["loss"]
