"""A specification becomes the same model everywhere, or a clear refusal."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from superb_ks.model.architecture import CHECKPOINT
from superb_ks.model.fingerprint import digest
from superb_ks.model.packing import pack, trainable_layout
from superb_ks.model.spec import ModelMismatch, ModelSpec, ModelUnavailable
from superb_ks.settings import SUPERB_LABELS, Settings, tuning_named

PACKAGE = Path(__file__).resolve().parents[3] / "node" / "superb_ks"
CHECKPOINT_FILE = CHECKPOINT / "model.safetensors"


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(global_seeds_untouched):
    first, again, other = (pack(ModelSpec("scratch", SUPERB_LABELS, seed).build()) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_untrained_tiny_model_is_trained_whole_and_knows_its_labels():
    model = ModelSpec("scratch", SUPERB_LABELS).build()
    assert all(p.requires_grad for p in model.parameters())
    assert sum(p.numel() for p in model.parameters()) < 2_000_000
    assert [model.config.id2label[i] for i in range(12)] == list(SUPERB_LABELS)
    assert model.config.label2id["_unknown_"] == 11
    assert model(torch.zeros(2, 16_000)).logits.shape == (2, 12)
    assert not model.training


def test_the_pretrained_tiny_model_is_found_in_the_package_wherever_it_lies(tmp_path: Path):
    """As on an envoy, where the package is installed elsewhere."""
    ours = ModelSpec("tiny", SUPERB_LABELS, seed=1).sealed()
    shutil.copytree(PACKAGE, tmp_path / "superb_ks", ignore=shutil.ignore_patterns("__pycache__"))
    code = (
        "from superb_ks import settings; from superb_ks.model import architecture, spec as model; "
        "spec = model.ModelSpec('tiny', settings.SUPERB_LABELS, seed=1).sealed(); "
        "print(architecture.CHECKPOINT, spec.digest)"
    )
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert found.stdout.split() == [str(tmp_path / "superb_ks" / "tiny"), ours.digest]
    stored = {f"wav2vec2.{n.removeprefix('wav2vec2.')}": t for n, t in load_file(CHECKPOINT_FILE).items()}
    built = ours.build().state_dict()
    assert len(stored) > 50
    assert all(torch.equal(built[name], values.float()) for name, values in stored.items())


def test_a_package_without_the_pretrained_tiny_model_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("superb_ks.model.spec.CHECKPOINT", tmp_path)
    with pytest.raises(ModelUnavailable, match=f"tiny model is not at {tmp_path}.*MODEL=scratch"):
        ModelSpec("tiny", SUPERB_LABELS).build()


def test_the_head_of_the_pretrained_tiny_model_is_new_and_follows_from_the_seed():
    heads = [ModelSpec("tiny", SUPERB_LABELS, seed).build().classifier.weight for seed in (1, 1, 2)]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


@pytest.mark.parametrize("tuning", ["lora", "head"])
def test_of_the_pretrained_tiny_model_a_tenth_at_most_travels(tuning: str):
    full, small = (
        ModelSpec.of(Settings(tuning=tuning_named(name)), SUPERB_LABELS).build() for name in ("full", tuning)
    )
    assert trainable_layout(small)[-1].stop <= 0.1 * trainable_layout(full)[-1].stop


def test_a_pretrained_folder_keeps_its_weights_and_its_feature_encoder_frozen(base_folder: Path):
    model = ModelSpec(str(base_folder), SUPERB_LABELS, seed=1).build()
    stored = load_file(base_folder / "model.safetensors")
    for name in ("feature_extractor.conv_layers.0.conv.weight", "encoder.layers.1.attention.q_proj.weight"):
        assert torch.equal(model.state_dict()[f"wav2vec2.{name}"], stored[f"wav2vec2.{name}"])
    trained = {slot.name for slot in trainable_layout(model)}
    assert not any("feature_extractor" in name for name in trained)
    assert {
        "classifier.weight",
        "projector.weight",
        "wav2vec2.feature_projection.projection.weight",
    } < trained


def test_the_new_head_of_a_pretrained_model_follows_from_the_seed(base_folder: Path, global_seeds_untouched):
    heads = [ModelSpec(str(base_folder), SUPERB_LABELS, s).build().classifier.weight for s in (1, 1, 2)]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_half_precision_files_are_built_in_float32(base_folder: Path, tmp_path: Path):
    half = ModelSpec(str(base_folder), SUPERB_LABELS).build().half()
    half.save_pretrained(tmp_path)
    built = ModelSpec(str(tmp_path), SUPERB_LABELS).build()
    assert {p.dtype for p in built.parameters()} == {torch.float32}


def test_a_head_with_our_classes_in_another_order_is_reordered_by_name(base_folder: Path, tmp_path: Path):
    s3prl_order = (*SUPERB_LABELS[:10], "_unknown_", "_silence_")
    theirs = ModelSpec(str(base_folder), s3prl_order, seed=3).build().eval()
    theirs.save_pretrained(tmp_path)
    ours = ModelSpec(str(tmp_path), SUPERB_LABELS, seed=4).build().eval()
    sound = torch.randn(1, 8_000, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, found = theirs(sound).logits[0], ours(sound).logits[0]
    torch.testing.assert_close(found[:10], expected[:10])
    torch.testing.assert_close(found[10:], expected[[11, 10]])


def test_a_folder_is_kept_as_an_absolute_path(base_folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(base_folder.parent)
    values = ModelSpec(base_folder.name, SUPERB_LABELS).to_dict()
    monkeypatch.chdir("/")
    spec = ModelSpec.from_dict(values)
    assert spec.name == str(base_folder.resolve())
    spec.build()


@pytest.mark.parametrize("name", ["./missing", "/no/such/model", "~/nothing-of-that-name", "a/b/c"])
def test_a_folder_that_is_not_there_is_refused_at_once(name: str):
    with pytest.raises(ValueError, match="no folder here"):
        ModelSpec(name, SUPERB_LABELS)


@pytest.mark.parametrize("labels", [("yes",), ("yes", "no", "yes")])
def test_labels_must_differ(labels: tuple[str, ...]):
    with pytest.raises(ValueError, match="labels are"):
        ModelSpec("scratch", labels)


def test_a_model_out_of_reach_says_what_to_do():
    spec = ModelSpec("nobody/no-such-model", SUPERB_LABELS)
    for attempt in (spec.build, spec.feature_extractor):
        with pytest.raises(
            ModelUnavailable, match="local folder.*network on every node.*MODEL=tiny"
        ) as error:
            attempt()
        assert "\n" not in str(error.value)


def test_a_folder_with_another_kind_of_model_is_refused(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelUnavailable, match="cannot load the model"):
        ModelSpec(str(tmp_path), SUPERB_LABELS).build()


def test_a_sealed_specification_builds_where_the_weights_agree(base_folder: Path):
    spec = ModelSpec(str(base_folder), SUPERB_LABELS).sealed()
    assert spec.sealed() == spec
    assert digest(spec.build()) == spec.digest


def test_a_node_with_other_frozen_weights_is_refused(base_folder: Path, tmp_path: Path):
    copy = shutil.copytree(base_folder, tmp_path / "copy")
    sealed = ModelSpec(str(copy), SUPERB_LABELS).sealed()
    tensors = load_file(copy / "model.safetensors")
    tensors["wav2vec2.feature_extractor.conv_layers.6.conv.weight"][0, 0, 0] += 1e-6
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelMismatch, match="frozen weights differ") as error:
        sealed.build()
    assert str(copy) in str(error.value) and sealed.digest[:8] in str(error.value)
    assert "trainable layers" not in str(error.value)


def test_other_weights_in_a_trained_layer_are_accepted_because_they_are_overwritten(
    base_folder: Path, tmp_path: Path
):
    copy = shutil.copytree(base_folder, tmp_path / "copy")
    sealed = ModelSpec(str(copy), SUPERB_LABELS).sealed()
    tensors = load_file(copy / "model.safetensors")
    tensors["wav2vec2.encoder.layers.0.attention.q_proj.weight"] += 1
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    sealed.build()


def test_a_node_with_other_trained_shapes_is_refused():
    eleven = ModelSpec("scratch", SUPERB_LABELS[:11])
    sealed = replace(eleven, digest=ModelSpec("scratch", SUPERB_LABELS).sealed().digest)
    with pytest.raises(ModelMismatch, match="trainable layers differ"):
        sealed.build()


def test_only_a_short_text_travels_and_becomes_the_same_model(base_folder: Path):
    for tuning in ("full", "lora", "head"):
        spec = ModelSpec(str(base_folder), SUPERB_LABELS, seed=3, tuning=tuning_named(tuning)).sealed()
        text = json.dumps(spec.to_dict())
        assert len(text) < 10_000
        arrived = ModelSpec.from_dict(json.loads(text))
        assert arrived == spec
        assert np.array_equal(pack(arrived.build()), pack(spec.build()))


def test_a_specification_with_another_field_is_refused():
    values = ModelSpec("tiny", SUPERB_LABELS).to_dict()
    for wrong in ({**values, "trust_remote_code": True}, {"name": "tiny"}):
        with pytest.raises(
            ValueError, match="specification has name, labels, seed, tuning, digest, no others$"
        ):
            ModelSpec.from_dict(wrong)
