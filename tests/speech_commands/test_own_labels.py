"""Classes of the user's own, with and without silence and unknown."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from superb_node.errors import DataError
from superb_shard_descriptor import SuperbShardDescriptor

Folders = tuple[Path, Path]


def describe(archives: Folders, labels: list[str]) -> SuperbShardDescriptor:
    return SuperbShardDescriptor("1, 1", "folder", str(archives[0]), labels=labels)


def test_four_words_and_nothing_else(archives: Folders) -> None:
    shard = describe(archives, ["go", "stop", "left", "right"])
    card = json.loads(shard.dataset_description)
    assert shard.labels == ("go", "stop", "left", "right")
    assert card["clips"]["train"] == {"go": 2, "stop": 2, "left": 2, "right": 2}
    table = shard._splits["train"].table
    assert [key.split("/")[0] for key in table.keys] == [shard.labels[label] for label in table.labels]


def test_unknown_and_silence_where_they_are_asked_for(archives: Folders) -> None:
    clips = json.loads(describe(archives, ["bed", "_unknown_", "_silence_"]).dataset_description)["clips"]
    assert clips["train"] == {"bed": 2, "_unknown_": 20, "_silence_": 2}
    assert clips["val"] == {"bed": 1, "_unknown_": 10, "_silence_": 1}


def test_silence_is_not_an_unknown_word(archives: Folders) -> None:
    clips = json.loads(describe(archives, ["yes", "_unknown_"]).dataset_description)["clips"]
    assert clips["test"] == {"yes": 1, "_unknown_": 10}


def test_no_background_recordings_are_needed_without_silence(archives: Folders) -> None:
    (archives[0] / "_background_noise_" / "hum.wav").unlink()
    assert len(describe(archives, ["yes", "no"]).get_dataset("train")) == 4


def test_a_misspelt_word_is_named(archives: Folders) -> None:
    with pytest.raises(DataError, match="no training clip of sotp"):
        describe(archives, ["go", "sotp"])


def test_own_words_in_any_file_name(tmp_path: Path, write_wav: Callable[..., Path]) -> None:
    train, test = tmp_path / "mine", tmp_path / "mine_test"
    for word in ("hello", "goodbye", "bonjour", "ciao"):
        for number in range(4):
            write_wav(train / word / f"anna {number}.wav", seconds=0.2)
        write_wav(test / word / "bob.wav", seconds=0.2)
    names = [f"{word}/anna 0.wav\n" for word in ("hello", "goodbye", "bonjour", "ciao")]
    (train / "validation_list.txt").write_text("".join(names))
    labels = ["hello", "goodbye", "bonjour", "ciao"]
    shards = [
        SuperbShardDescriptor(f"{rank}, 2", "folder", str(train), str(test), labels=labels) for rank in (1, 2)
    ]
    assert sum(len(shard.get_dataset("train")) for shard in shards) == 12
    assert {int(label) for _, label in (shards[0].get_dataset("test")[row] for row in range(2))} <= {
        0,
        1,
        2,
        3,
    }
    assert shards[0].get_dataset("val")[0][0].dtype == np.float32
