"""The owners' clips are read by their own descriptor, where they can be read, and not elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from speech_commands.synthetic.corpus import write_corpus
from speech_commands.synthetic.script import Size
from superb_ks.model.spec import ModelSpec
from superb_ks.settings import SUPERB_LABELS
from superb_notebook import local_data
from superb_notebook.local_data import reachable_data

EXTRACTOR = ModelSpec("scratch", SUPERB_LABELS).feature_extractor()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("speech")
    write_corpus(folder, seed=0, size=Size(2, 1, 1, 2, 2, 2))
    names = {"data_dir": "speech_commands_v0.01", "test_dir": "speech_commands_test_set_v0.01"}
    return {key: str(folder / name) for key, name in names.items()}


def cards_of(places: dict[str, str], **changes: Any) -> dict[str, dict[str, Any]]:
    return {name: {"labels": list(SUPERB_LABELS), **places, **changes} for name in ("env_one", "env_two")}


def test_shards_together_are_all_clips(corpus: dict[str, str]) -> None:
    data = reachable_data(cards_of(corpus))
    assert data.available and "can read" in str(data)
    pooled, shards = data.pooled(EXTRACTOR), data.shards(EXTRACTOR, count=2)
    assert len(shards) == 2
    for split in ("train", "val", "test"):
        assert 0 < len(pooled[split]) == sum(len(shard[split]) for shard in shards)
    waveform, label = pooled["train"].clip(0)
    assert waveform.dtype == np.float32 and 0 <= label < 12


@pytest.mark.parametrize(
    "changes", [{"data_dir": ""}, {"data_dir": "/no/such"}], ids=["not said", "another machine"]
)
def test_out_of_reach_is_a_normal_answer(corpus: dict[str, str], changes: dict[str, str]) -> None:
    data = reachable_data(cards_of(corpus, **changes))
    assert not data.available and "cannot read" in str(data)
    assert data.shards(EXTRACTOR, count=5) == []
    assert {split: len(clips) for split, clips in data.pooled(EXTRACTOR).items()} == {
        "train": 0,
        "val": 0,
        "test": 0,
    }


def test_owners_with_folders_of_their_own_are_not_pooled(corpus: dict[str, str], tmp_path: Path) -> None:
    cards = cards_of(corpus)
    cards["env_two"]["data_dir"] = str(tmp_path)
    assert not reachable_data(cards).available


def test_without_the_owners_code_nothing_is_read(corpus: dict[str, str], tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(local_data, "ENVOY", tmp_path)
    assert not reachable_data(cards_of(corpus)).available
