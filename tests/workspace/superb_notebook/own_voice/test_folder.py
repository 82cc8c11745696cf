"""A voice's folder: what an envoy reads in it, and that nobody else does."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speech_commands.reader.lists import read_list
from superb_node.labels import KEYWORDS, LABELS, LISTED
from superb_notebook.own_voice.folder import ROOM, SPLITS, VoiceError, VoiceFolder
from superb_shard_descriptor import SuperbShardDescriptor


def sound(seconds: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-3_000, 3_000, seconds * 16_000).astype(np.int16)


def filled(root: Path, takes: int = 5, labels: tuple[str, ...] = LABELS) -> VoiceFolder:
    folder = VoiceFolder(root, labels, takes)
    for word in folder.words:
        for take in range(folder.wanted(word)):
            folder.keep(word, sound(10 if word == ROOM else 1, take))
    return folder


def test_an_envoy_finds_clips_of_each_word_in_all_splits(tmp_path: Path) -> None:
    folder = filled(tmp_path / "clips")
    assert (folder.recorded, folder.missing) == (51, "")
    shard = SuperbShardDescriptor(None, source="folder", data_dir=str(folder.root), test_dir=LISTED)
    card = json.loads(shard.dataset_description)
    words = {"train": 2, "val": 1, "test": 2}
    for split, count in words.items():
        expected = {**dict.fromkeys(KEYWORDS, count), "_silence_": count, "_unknown_": 0}
        assert card["clips"][split] == expected
        assert card["speakers"][split] == 1
    assert str(tmp_path) not in shard.dataset_description


@pytest.mark.parametrize("takes", [3, 4, 20])
def test_few_and_many_takes_fill_all_splits(tmp_path: Path, takes: int) -> None:
    folder = filled(tmp_path / "clips", takes, labels=("yes", "no"))
    shard = SuperbShardDescriptor(
        None, source="folder", data_dir=str(folder.root), test_dir=LISTED, labels=["yes", "no"]
    )
    sizes = [len(shard.get_dataset(split)) for split in ("train", "val", "test")]
    assert sum(sizes) == 2 * takes and min(sizes) > 0


def test_a_clip_is_16_bit_mono_at_16_khz_and_bit_for_bit_what_was_given(tmp_path: Path) -> None:
    folder = VoiceFolder(tmp_path / "clips", LABELS)
    path = folder.path("yes", folder.keep("yes", sound()))
    header = soundfile.info(path)
    assert (header.samplerate, header.channels, header.subtype) == (16_000, 1, "PCM_16")
    np.testing.assert_array_equal(soundfile.read(path, dtype="int16")[0], sound())


def test_what_is_recorded_again_stays_in_its_split(tmp_path: Path) -> None:
    folder = filled(tmp_path / "clips")
    before = {name: (folder.root / name).read_text() for name in ("validation_list.txt", "testing_list.txt")}
    folder.delete("yes", 2)
    assert folder.missing == "yes 1×"
    assert folder.path("yes", 2).name not in (folder.root / "testing_list.txt").read_text().split("no/")[0]
    assert folder.keep("yes", sound(seed=9)) == 2
    assert {name: (folder.root / name).read_text() for name in before} == before


def test_with_fewer_takes_no_test_clip_becomes_one_for_training(tmp_path: Path) -> None:
    filled(tmp_path / "clips")
    fewer = VoiceFolder(tmp_path / "clips", LABELS, takes=3)
    fewer.write_lists()
    listed = read_list(fewer.root / "testing_list.txt", required=True)
    assert len(listed) == len(KEYWORDS) * SPLITS.count("test")


def test_another_session_goes_on_with_the_same_speaker(tmp_path: Path) -> None:
    first = VoiceFolder(tmp_path / "clips", LABELS)
    first.keep("yes", sound())
    again = VoiceFolder(tmp_path / "clips", LABELS)
    assert again.takes_of("yes") == [0]
    assert again.path("yes", 0) == first.path("yes", 0)
    assert VoiceFolder(tmp_path / "other", LABELS).path("yes", 0).name != first.path("yes", 0).name


def test_nobody_else_can_read_it_and_nothing_half_is_left(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        folder = filled(tmp_path / "envoy" / "clips", 3)
    finally:
        os.umask(before)
    for path in (folder.root.parent, *folder.root.parent.rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path
        assert not path.name.endswith(".partial")


@pytest.mark.parametrize("takes", [2, 21, True, 3.0, "5"])
def test_an_illegal_number_of_takes_is_named(tmp_path: Path, takes: object) -> None:
    with pytest.raises(VoiceError, match=rf"takes is {takes!r}; legal: 3 to 20"):
        VoiceFolder(tmp_path, LABELS, takes)


@pytest.mark.parametrize("label", ["..", "../yes", "a/b", "a\\b", ".hidden", "room"])
def test_a_class_of_another_machine_names_no_place_outside(tmp_path: Path, label: str) -> None:
    with pytest.raises(VoiceError, match="cannot be the name of a folder of clips"):
        VoiceFolder(tmp_path, ("yes", label))


def test_a_word_too_many_and_a_word_that_is_none_are_named(tmp_path: Path) -> None:
    folder = filled(tmp_path / "clips", 3)
    with pytest.raises(VoiceError, match="all 3 of 'yes' are recorded. Delete one"):
        folder.keep("yes", sound())
    with pytest.raises(VoiceError, match="'bed' is not asked for; legal: yes, no, "):
        folder.keep("bed", sound())


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "clips").touch()
    folder = VoiceFolder(tmp_path / "clips", LABELS)
    with pytest.raises(VoiceError, match=r"clips/yes/\w+_nohash_0.wav: cannot be written \(.+\)"):
        folder.keep("yes", sound())
