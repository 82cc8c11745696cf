"""Damaged folders of models: nodes, notebook and command line say the same, in one line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from superb_ks.model.folder import ModelUnavailable, load_classifier
from superb_ks.model.spec import ModelSpec
from superb_ks.settings import SUPERB_LABELS
from superb_notebook.classify import main

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5675012\n"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    spec = ModelSpec("scratch", SUPERB_LABELS, seed=1)
    spec.build().save_pretrained(folder)
    spec.feature_extractor().save_pretrained(folder)
    return folder


def weights_are(content: bytes | None) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / "model.safetensors"
        path.unlink()
        if content is not None:
            path.write_bytes(content)

    return damage


def config_is(content: str | None) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / "config.json"
        path.unlink()
        if content is not None:
            path.write_text(content)

    return damage


def truncated(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100_000])


def other_weights(folder: Path) -> None:
    save_file({"encoder.weight": torch.zeros(3)}, folder / "model.safetensors", metadata={"format": "pt"})


def another_task(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "bert"}')


def broken_preprocessor(folder: Path) -> None:
    (folder / "preprocessor_config.json").write_text("{")


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (weights_are(POINTER.encode()), "model.safetensors is a Git LFS pointer; `git lfs pull`"),
        (weights_are(b""), "model.safetensors is empty"),
        (weights_are(b"junk" * 100), "cannot load the model"),
        (weights_are(None), "has no weights (model.safetensors or pytorch_model.bin)"),
        (truncated, "Copy the folder again"),
        (other_weights, ""),
        (config_is(None), "has no config.json"),
        (config_is("{"), "config.json is not JSON"),
        (config_is("[]"), "config.json is not a JSON object"),
        (config_is(POINTER), "config.json is a Git LFS pointer"),
        (config_is("{}"), "cannot load the model"),
        (another_task, "cannot load the model"),
        (broken_preprocessor, "cannot load the model"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value))[:30],
)
def test_a_damaged_folder_is_named_in_one_line(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture, damage: Callable, complaint: str
) -> None:
    folder = shutil.copytree(saved, tmp_path / "model")
    damage(folder)
    assert main([str(folder), "any.wav"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    assert complaint in said and str(folder) in said
    spec = ModelSpec(str(folder), SUPERB_LABELS)
    with pytest.raises(ModelUnavailable) as caught:  # as a node and the notebook build it
        spec.feature_extractor() if damage is broken_preprocessor else spec.build()
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)
    if damage is not other_weights:
        assert f"error: {caught.value}\n" == said


def test_classify_wants_a_trained_classifier(base_folder: Path, saved: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="holds no trained classifier: classifier.bias is missing"):
        load_classifier(base_folder)
    folder = shutil.copytree(saved, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {str(number): f"LABEL_{number}" for number in range(12)}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelUnavailable, match="does not say what its classes are called"):
        load_classifier(folder)
    with pytest.raises(ModelUnavailable, match="is not a folder"):
        load_classifier(tmp_path / "nowhere")
    assert load_classifier(saved).model.config.id2label[0] == "yes"
