"""The shard descriptor: what OpenFL and the tasks rely on, and every error before the envoy registers."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import soundfile
import yaml
from openfl.interface.interactive_api.shard_descriptor import ShardDataset, ShardDescriptor

from superb_node.errors import DataError
from superb_node.labels import LABELS
from superb_node.shard_card import read_card
from superb_notebook.connect import FederationError, require_disjoint_shards
from superb_shard_descriptor import SuperbShardDescriptor

Folders = tuple[Path, Path]


def describe(archives: Folders, **settings: object) -> SuperbShardDescriptor:
    given: dict[str, Any] = {
        "rank_worldsize": "1, 1",
        "source": "folder",
        "data_dir": str(archives[0]),
        **settings,
    }
    return SuperbShardDescriptor(**given)


def test_interface_of_openfl(archives: Folders) -> None:
    shard = describe(archives)
    assert isinstance(shard, ShardDescriptor)
    assert shard.get_shard_dataset_types() == ["train", "val", "test"]
    assert (shard.sample_shape, shard.target_shape) == (["16000"], ["1"])
    assert shard.labels == LABELS
    dataset = shard.get_dataset("train")
    assert isinstance(dataset, ShardDataset)
    assert len(dataset) == 22 + 2
    waveform, label = dataset[0]
    assert waveform.shape == (1600,)
    assert waveform.dtype == np.float32
    assert type(label) is int
    with pytest.raises(IndexError):
        dataset[len(dataset)]


def test_card(archives: Folders) -> None:
    card = json.loads(describe(archives).dataset_description)
    assert card["labels"] == list(LABELS)
    assert card["clips"]["train"] == {**dict.fromkeys(LABELS, 2)}
    assert card["clips"]["val"] == {**dict.fromkeys(LABELS, 1)}
    assert card["clips"]["test"] == {**dict.fromkeys(LABELS, 1)}
    assert card["speakers"] == {"train": 2, "val": 1, "test": 1}
    assert card["seconds"] == {"train": 4.2, "val": 2.1, "test": 1.2}
    assert (card["source"], card["partition"], card["rank"], card["world_size"]) == ("folder", "iid", 1, 1)
    assert str(archives[0].parent) not in json.dumps(card), "a path may hold a patient's name"
    assert read_card(json.dumps(card)) == {**card, "scenario": {}}
    assert "\n" not in describe(archives).dataset_description


def test_an_owners_own_recordings_are_no_share_of_anything(archives: Folders) -> None:
    own = describe(archives, rank_worldsize=None)
    card = json.loads(own.dataset_description)
    assert (card["rank"], card["world_size"]) == (None, None)
    assert len(own.get_dataset("train")) == len(describe(archives).get_dataset("train"))
    require_disjoint_shards({"clinic_a": card, "clinic_b": card})  # of two folders, for all that is known
    share = json.loads(describe(archives).dataset_description)
    with pytest.raises(FederationError, match="clinic_a and clinic_b hold the same clips"):
        require_disjoint_shards({"clinic_a": share, "clinic_b": share})


def test_relative_folders_hold_after_a_change_of_directory(
    archives: Folders, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(archives[0].parent)
    shard = SuperbShardDescriptor("1, 1", "folder", archives[0].name, archives[1].name)
    monkeypatch.chdir("/")
    assert len(shard.get_dataset("test")[0][0]) == 1600


def test_opening_decodes_nothing(archives: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_kwargs: object) -> NoReturn:
        raise AssertionError("decoded")

    monkeypatch.setattr(soundfile.SoundFile, "read", refuse)
    shard = describe(archives)
    assert len(shard.get_dataset("val").labels) == len(shard.get_dataset("val"))
    with pytest.raises(AssertionError):
        shard.get_dataset("val")[0]


def test_labels_of_a_split_are_those_of_its_clips(archives: Folders) -> None:
    dataset = describe(archives, scenario={"label_noise": 0.5}).get_dataset("train")
    assert dataset.labels.tolist() == [dataset[index][1] for index in range(len(dataset))]


def test_the_committed_config_is_legal(envoy_dir: Path) -> None:
    config = yaml.safe_load((envoy_dir / "envoy_config.yaml").read_text())
    assert config["shard_descriptor"]["template"] == "superb_shard_descriptor.SuperbShardDescriptor"
    settings = config["shard_descriptor"]["params"]
    defaults = {"source": "synthetic", "data_dir": None, "test_dir": None, "partition": "iid", "seed": 0}
    assert settings.items() >= {"rank_worldsize": "1, 2", **defaults}.items()
    assert {"cuda_devices", "cpu_threads"} <= config["params"].keys()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rank_worldsize": "3, 2"}, ["rank_worldsize", "3, 2", "1 to 2"]),
        ({"rank_worldsize": "0, 2"}, ["rank_worldsize", "0, 2", "1 to 2"]),
        ({"rank_worldsize": "one"}, ["rank_worldsize", "one", "1, 2"]),
        ({"rank_worldsize": "1, 2, 3"}, ["rank_worldsize", "1, 2, 3"]),
        ({"rank_worldsize": 1}, ["rank_worldsize", "1", "1, 2"]),
        (
            {"rank_worldsize": None, "source": "synthetic"},
            ["is null", "'synthetic'", "folder"],
        ),
        ({"source": "tape"}, ["source", "tape", "synthetic", "folder"]),
        ({"partition": "even"}, ["partition", "even", "iid", "speaker"]),
        ({"seed": "zero"}, ["seed", "zero", "whole number"]),
        ({"data_dir": None}, ["data_dir", "folder"]),
        ({"data_dir": "/nowhere/at/all"}, ["data_dir", "/nowhere/at/all", "no such folder"]),
        ({"test_dir": "/nowhere/at/all"}, ["test_dir", "/nowhere/at/all", "no such folder"]),
        ({"source": "synthetic"}, ["data_dir", "folder", "synthetic"]),
        ({"rank_worldsize": "500, 500"}, ["shard 500 of 500", "no clip", "train"]),
    ],
)
def test_wrong_settings_are_named(archives: Folders, settings: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        describe(archives, **settings)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def remove_test_archive(train: Path, test: Path) -> None:
    test.rename(test.with_name("elsewhere"))


def remove_validation_list(train: Path, test: Path) -> None:
    (train / "validation_list.txt").unlink()


def empty_validation_list(train: Path, test: Path) -> None:
    (train / "validation_list.txt").write_text("")


def binary_validation_list(train: Path, test: Path) -> None:
    (train / "validation_list.txt").write_bytes(b"\xff\xfe\x00")


def list_everything(train: Path, test: Path) -> None:
    names = [f"{path.parent.name}/{path.name}\n" for path in train.rglob("*_nohash_*.wav")]
    (train / "validation_list.txt").write_text("".join(names))


def empty_test_archive(train: Path, test: Path) -> None:
    for path in test.rglob("*.wav"):
        path.unlink()


def text_in_a_wav(train: Path, test: Path) -> None:
    (train / "yes" / "00000001_nohash_0.wav").write_text("this is not sound")


def text_beside_the_clips(train: Path, test: Path) -> None:
    (test / "go" / "notes.txt").write_text("remember the milk")


def empty_file(train: Path, test: Path) -> None:
    (train / "up" / "00000002_nohash_0.wav").write_bytes(b"")


def header_without_samples(train: Path, test: Path) -> None:
    soundfile.write(train / "up" / "00000002_nohash_0.wav", np.zeros(0), 16_000)


def unreadable_file(train: Path, test: Path) -> None:
    os.symlink("/nowhere/at/all", train / "up" / "00000009_nohash_0.wav")


def no_background(train: Path, test: Path) -> None:
    (train / "_background_noise_" / "hum.wav").unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (remove_test_archive, ["speech_commands_test_set_v0.01", "no such folder", "test_dir"]),
        (remove_validation_list, ["validation_list.txt", "missing"]),
        (empty_validation_list, ["split 'val' is empty"]),
        (binary_validation_list, ["validation_list.txt", "UTF-8"]),
        (list_everything, ["split 'train' is empty"]),
        (empty_test_archive, ["split 'test' is empty"]),
        (text_in_a_wav, ["yes/00000001_nohash_0.wav", "not a readable audio file"]),
        (text_beside_the_clips, ["go/notes.txt", "not a readable audio file"]),
        (empty_file, ["up/00000002_nohash_0.wav"]),
        (header_without_samples, ["up/00000002_nohash_0.wav", "without a single sample"]),
        (unreadable_file, ["up/00000009_nohash_0.wav"]),
        (no_background, ["_background_noise_", "no background recordings"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_damaged_folders_are_named(
    archives: Folders, damage: Callable[[Path, Path], None], words: list[str]
) -> None:
    damage(*archives)
    with pytest.raises(DataError) as caught:
        describe(archives)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_unknown_split_is_named(archives: Folders) -> None:
    with pytest.raises(DataError, match="dataset_type is 'dev'; legal values: train, val, test"):
        describe(archives).get_dataset("dev")


def test_a_file_that_went_after_opening_is_named(archives: Folders) -> None:
    shard = describe(archives)
    for path in archives[1].rglob("*.wav"):
        path.unlink()
    with pytest.raises(DataError, match="not a readable audio file"):
        shard.get_dataset("test")[0]
