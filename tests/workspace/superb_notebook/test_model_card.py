"""A saved model's card: what the hub reads of it, and that the hub's own client uploads it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from superb_ks.settings import FedProx, Head, Lora, Privacy, Settings
from superb_notebook.history import history_of
from superb_notebook.summary import write_summary
from tests.support.hub import TOKEN, small_hub
from tests.workspace.experiment_records import ENVOYS, card, record, two_rounds

ROOT = Path(__file__).resolve().parents[3]
_PAGES = ("README.md", "docs/usage.md")
_UPLOAD = re.compile(r"hf upload (\S+) (\S+) ([^\s`]+)")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    return tmp_path


def card_of(run: Path, settings: Settings, *further_records: dict, **changes: str) -> Any:  # a ModelCard
    cards = {name: card(**changes) for name in ENVOYS}
    write_summary(run, settings, cards, history_of([*two_rounds(), *further_records], 2, ENVOYS))
    return ModelCard.load(run / "model" / "README.md")


def test_the_hub_reads_task_data_and_accuracy_with_its_clips(run: Path) -> None:
    data = card_of(run, Settings(), source="archives").data
    assert (data.library_name, data.pipeline_tag, data.license) == (
        "transformers", "audio-classification", "apache-2.0",
    )  # fmt: skip
    assert data.base_model is None and "federated-learning" in data.tags
    (result,) = data.eval_results
    assert (result.task_type, result.dataset_type, result.dataset_split) == (
        "audio-classification", "archives", "test",
    )  # fmt: skip
    assert (result.dataset_name, result.metric_type) == ("archives of Speech Commands", "accuracy")
    assert (result.metric_value, result.metric_name) == (31 / 40, "Accuracy on 40 clips")
    assert sorted(path.name for path in (run / "model").iterdir()) == ["README.md"]


def test_people_read_how_it_was_made(run: Path) -> None:
    settings = Settings(tuning=Lora(rank=4), strategy=FedProx(mu=0.1), seed=7)
    text = card_of(run, settings, partition="speaker").text
    for line in (
        "| starts from | `tiny` |",
        "| data | synthetic speech of eSpeak NG; partition `speaker` |",
        "| training clips | 60 of 2 owners |",
        "| rounds | 2 |",
        "| strategy | `FedProx(mu=0.1)` |",
        "| tuning | `Lora(rank=4, alpha=16.0)` |",
        "| differential privacy | none |",
        "| seed | 7 |",
        "Accuracy on 40 test clips of all owners: **77.5 %** (32.5 % before training).",
    ):
        assert line in text.splitlines()
    python = "{}.{}.{}".format(*sys.version_info[:3])
    assert f"| versions | Python {python}, openfl 1.7.1, superb-node " in text


def test_privacy_is_told_as_the_epsilon_that_was_spent(run: Path) -> None:
    settings = Settings(privacy=Privacy(clip_norm=1.0, noise_multiplier=0.5))
    spent = record(0, "aggregator", "privacy", "epsilon", 2.5)
    assert (
        "| differential privacy | epsilon 2.5 for each owner (`Privacy(clip_norm=1.0, "
        in card_of(run, settings, spent).text
    )


def test_a_published_models_licence_is_left_to_its_user(run: Path) -> None:
    made = card_of(run, Settings(model="facebook/wav2vec2-base", tuning=Head()))
    assert (made.data.base_model, made.data.license) == ("facebook/wav2vec2-base", None)
    assert made.data.model_name == "wav2vec2-base-keyword-spotting"
    assert "The licence of `facebook/wav2vec2-base` holds for this model, too." in made.text


def test_a_local_models_card_has_no_path(run: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    made = card_of(run, Settings(model=str(tmp_path / "mine")))
    assert "| starts from | `mine` |" in made.text and str(tmp_path) not in str(made)


def test_the_hubs_own_client_uploads_model_and_card(run: Path) -> None:
    """By the command of README and docs. Weights go by LFS: the other way, Xet, has a protocol of its own."""
    shown = {_UPLOAD.findall((ROOT / page).read_text(encoding="utf-8"))[0] for page in _PAGES}
    assert shown == {("YOUR-NAME/keyword-spotting", "runs/latest/model", ".")}
    ((repo, _, place),) = shown
    repo = repo.replace("YOUR-NAME", "me")
    card_of(run, Settings())
    weights = os.urandom(3 << 20)
    (run / "model" / "model.safetensors").write_bytes(weights)
    (run / "model" / "config.json").write_text("{}", encoding="utf-8")
    with small_hub() as hub:
        environment = {
            **os.environ,
            "HF_ENDPOINT": hub.url,
            "HF_TOKEN": TOKEN,
            "HF_HOME": str(run / "cache"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_OFFLINE": "0",
        }
        hf = Path(sys.executable).with_name("hf")
        done = subprocess.run(
            [hf, "upload", repo, run / "model", place],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert hub.unknown == []
    assert {path: content for (its, path), content in hub.files.items() if its == repo} == {
        "README.md": (run / "model" / "README.md").read_bytes(),
        "config.json": b"{}",
        "model.safetensors": weights,
    }
