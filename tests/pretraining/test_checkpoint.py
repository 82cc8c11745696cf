"""The folder that ships, and how it comes to be there."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from string import Template

import pytest
import torch
from transformers import (
    AutoFeatureExtractor,
    Wav2Vec2Config,
    Wav2Vec2ForSequenceClassification,
    Wav2Vec2Model,
)

from pretraining.card import TEMPLATE, command, write_card
from pretraining.checkpoint import CARD, FILES, FOLDER, WEIGHTS, Publication, sha256, write_model
from pretraining.corpus import SpokenCorpus
from pretraining.training import CurvePoint, Plan
from superb_ks.model.architecture import ARCHITECTURE

LIMIT = 4_000_000  # bytes; every node installs the whole folder


def test_the_published_folder_is_complete_and_small() -> None:
    assert {path.name for path in FOLDER.iterdir()} == FILES
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < LIMIT


def test_the_card_names_the_weights() -> None:
    card = (FOLDER / CARD).read_text(encoding="utf-8")
    assert sha256(FOLDER / WEIGHTS) in card
    assert "$" not in card
    steps = [
        int(row.replace(",", "")) for row in re.findall(r"^\| ([\d,]+) \| [\d.]+ \|", card, re.MULTILINE)
    ]
    assert steps == sorted(steps)
    assert len(steps) >= 10


def test_the_published_card_is_what_the_template_gives() -> None:
    parts = Template.pattern.sub("\0", TEMPLATE.read_text(encoding="utf-8")).split("\0")
    card = (FOLDER / CARD).read_text(encoding="utf-8")
    assert re.fullmatch(".+?".join(map(re.escape, parts)), card, re.DOTALL)
    assert card.count(command(Plan(), FOLDER)) == 2


def test_a_card_names_the_options_that_make_its_model(corpus: SpokenCorpus, tmp_path: Path) -> None:
    plan, model = replace(Plan(), seed=3, steps=7), Wav2Vec2Model.from_pretrained(FOLDER)
    digest = write_model(model, tmp_path)
    made_by = command(plan, tmp_path / "my model")
    write_card(tmp_path, plan, corpus, [CurvePoint(7, 1.0, 2.0, 0.5)], digest, model, made_by)
    assert {path.name for path in tmp_path.iterdir()} == FILES
    card = (tmp_path / CARD).read_text(encoding="utf-8")
    assert "make pretrain" not in card
    assert "| `python -m pretraining --seed=3 --steps=7 '--folder=my model'` |" in card
    assert f"| spoken by | espeakng-loader {metadata.version('espeakng-loader')}, flite-" in card
    assert "| seed | 3 |" in card and "| 7 | 1.000 | 2.000 | 50.0% |" in card


def test_the_published_model_is_of_the_architecture() -> None:
    model = Wav2Vec2Model.from_pretrained(FOLDER)
    for name, value in ARCHITECTURE.items():
        found = getattr(model.config, name)
        assert tuple(found) == value if isinstance(value, tuple) else found == value, name
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


def test_the_published_model_takes_a_new_head() -> None:
    model = Wav2Vec2ForSequenceClassification.from_pretrained(FOLDER, num_labels=12).eval()
    extractor = AutoFeatureExtractor.from_pretrained(FOLDER)
    noise = torch.randn(16_000, generator=torch.Generator().manual_seed(0)).numpy()
    inputs = extractor(noise, sampling_rate=16_000, return_tensors="pt")
    assert set(inputs) == {"input_values"}
    with torch.inference_mode():
        assert model(**inputs).logits.shape == (1, 12)


def test_what_is_written_is_what_is_loaded(tmp_path: Path) -> None:
    small = {**ARCHITECTURE, "num_hidden_layers": 1, "conv_dim": (8, 8, 8, 8, 8)}
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = Wav2Vec2Model(Wav2Vec2Config(**small))
    digest = write_model(model, tmp_path)
    assert digest == sha256(tmp_path / WEIGHTS)
    loaded = Wav2Vec2Model.from_pretrained(tmp_path).state_dict()
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(loaded[name], tensor.half().float(), rtol=0, atol=0)


def test_a_publication_replaces_the_whole_folder(tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "old").touch()
    with Publication(folder) as partial:
        assert partial.parent == tmp_path
        (partial / "new").touch()
        assert (folder / "old").exists()
    assert [path.name for path in folder.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_a_publication_that_fails_leaves_the_old_folder(tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "old").touch()

    def fail_half_way() -> None:
        with Publication(folder) as partial:
            (partial / "half").touch()
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        fail_half_way()
    assert [path.name for path in folder.iterdir()] == ["old"]
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]
