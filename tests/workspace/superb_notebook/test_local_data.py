"""The owners' clips are read where the person's own config says that they are, and not elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import yaml

import superb_shard_descriptor
from speech_commands.synthetic.corpus import write_corpus
from speech_commands.synthetic.script import Size
from superb_ks.model.spec import ModelSpec
from superb_ks.settings import SUPERB_LABELS
from superb_notebook import local_data
from superb_notebook.clips import reachable_clips
from superb_notebook.local_data import reachable_data

EXTRACTOR = ModelSpec("scratch", SUPERB_LABELS).feature_extractor()
TRAIN, TEST = "speech_commands_v0.01", "speech_commands_test_set_v0.01"
OURS = "superb_shard_descriptor.SuperbShardDescriptor"


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with both archives, and beside them an envoy's folder whose config names them."""
    folder = tmp_path_factory.mktemp("speech")
    write_corpus(folder, seed=0, size=Size(2, 1, 1, 2, 2, 2))
    (folder / "envoy").mkdir()
    return folder


def config(speech: Path, template: str = OURS, **changes: Any) -> Path:
    path = speech / "envoy" / "envoy_config.yaml"
    params = {"rank_worldsize": "1, 2", "source": "folder", "data_dir": f"../{TRAIN}", **changes}
    path.write_text(yaml.safe_dump({"shard_descriptor": {"template": template, "params": params}}))
    return path


def cards(source: str = "folder", **lies: Any) -> dict[str, dict[str, Any]]:
    card = {"labels": list(SUPERB_LABELS), "source": source, **lies}
    return {"env_one": card, "env_two": card}


def test_shards_together_are_all_clips(speech: Path) -> None:
    data = reachable_data(cards(), str(config(speech)))
    assert data.available and str(data) == "This notebook can read the owners' clips (folder)"
    pooled, shards = data.pooled(EXTRACTOR), data.shards(EXTRACTOR, count=2)
    assert len(shards) == 2
    for split in ("train", "val", "test"):
        assert 0 < len(pooled[split]) == sum(len(shard[split]) for shard in shards)
    waveform, label = pooled["train"].clip(0)
    assert waveform.dtype == np.float32 and 0 <= label < 12


def test_the_clips_are_listed_and_divided_once_for_all_shards(
    speech: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = Mock(wraps=superb_shard_descriptor.Shards)
    monkeypatch.setattr(superb_shard_descriptor, "Shards", shards)
    data = reachable_data(cards(), str(config(speech)))
    assert len(data.shards(EXTRACTOR, count=3)) == 3
    shards.assert_called_once()


def test_the_test_clips_are_those_of_the_config_too(speech: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_data, "OWN_CONFIG", config(speech))
    clips = reachable_clips(cards(), SUPERB_LABELS)
    assert {path.parents[1] for path in clips.paths} == {(speech / TEST).resolve()}
    assert str(clips).endswith(
        f" {len(clips)} test clips: those of source folder that envoy/envoy_config.yaml names"
    )
    config(speech, test_dir="testing_list")
    listed = reachable_clips(cards(), SUPERB_LABELS)
    assert {path.parents[1] for path in listed.paths} == {(speech / TRAIN).resolve()}


@pytest.mark.parametrize(
    ("source", "changes"),
    [
        ("synthetic", {}),
        ("folder", {"data_dir": "/no/such"}),
        ("folder", {"data_dir": None}),
        ("folder", {"sorce": "folder"}),
        ("folder", {"template": "own.Descriptor"}),
        ("hub", {"source": "hub", "data_dir": None}),
    ],
    ids=["others' clips", "not there", "not said", "misspelt", "another descriptor", "no folders"],
)
def test_out_of_reach_is_a_normal_answer(speech: Path, source: str, changes: dict[str, Any]) -> None:
    data = reachable_data(cards(source), str(config(speech, **changes)))
    assert not data.available and "cannot read" in str(data)
    assert data.shards(EXTRACTOR, count=5) == []
    assert not any(map(len, data.pooled(EXTRACTOR).values()))


def test_no_path_of_a_card_is_followed(speech: Path, tmp_path: Path) -> None:
    lies = {"data_dir": str(speech / TRAIN), "test_dir": str(speech / TEST)}
    assert not reachable_data(cards(**lies), str(tmp_path / "no_such_config.yaml")).available


def test_without_the_owners_code_nothing_is_read(speech: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(local_data, "ENVOY", tmp_path)
    assert not reachable_data(cards(), str(config(speech))).available
