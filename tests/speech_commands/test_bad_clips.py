"""Clips that are not audio: `on_bad_clip` names the first, or leaves them out and counts them."""

import json
from pathlib import Path

import pytest

from superb_node.errors import DataError
from superb_shard_descriptor import SuperbShardDescriptor

Folders = tuple[Path, Path]


@pytest.fixture
def damaged(archives: Folders) -> Folders:
    train, test = archives
    (train / "yes" / "00000001_nohash_0.wav").write_text("not sound")
    (train / "no" / "broken\nname.wav").write_bytes(b"")
    (test / "go" / "00000004_nohash_0.wav").write_bytes(b"RIFF")
    return train, test


def test_error_names_the_first_and_counts_the_rest(damaged: Folders) -> None:
    with pytest.raises(
        DataError, match=r"not a readable audio file.* and 1 more; on_bad_clip: skip"
    ) as caught:
        SuperbShardDescriptor("1, 1", "folder", str(damaged[0]))
    assert "\n" not in str(caught.value)


def test_skip_leaves_them_out_and_counts_them(damaged: Folders) -> None:
    shard = SuperbShardDescriptor("1, 1", "folder", str(damaged[0]), on_bad_clip="skip")
    card = json.loads(shard.dataset_description)
    assert card["skipped"] == 3
    assert card["clips"]["train"]["yes"] == 1
    assert card["clips"]["test"]["go"] == 0
    for split in shard.get_shard_dataset_types():
        dataset = shard.get_dataset(split)
        assert all(len(dataset[row][0]) == 1600 for row in range(len(dataset)) if dataset[row][1] != 10)


def test_a_damaged_background_recording_is_never_skipped(archives: Folders) -> None:
    (archives[0] / "_background_noise_" / "tap.wav").write_text("drip")
    with pytest.raises(DataError, match=r"_background_noise_/tap\.wav"):
        SuperbShardDescriptor("1, 1", "folder", str(archives[0]), on_bad_clip="skip")
