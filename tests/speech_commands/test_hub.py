"""The hub's parquet files, from a folder."""

import io
import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import soundfile

from superb_node.errors import DataError
from superb_node.labels import KEYWORDS
from superb_shard_descriptor import SuperbShardDescriptor
from tests.support.superb_parquet import clip_bytes, spoken, write_data_set, write_parquet, write_split


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A local copy of what the hub has."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf-cache")
    return write_data_set(tmp_path / "superb")


def describe(hub: Path, rank: str = "1, 1", **settings: object) -> SuperbShardDescriptor:
    return SuperbShardDescriptor(rank, "hub", hub={"id": str(hub)}, **settings)


def test_splits_classes_and_silence(hub: Path) -> None:
    card = json.loads(describe(hub).dataset_description)
    words = dict.fromkeys(KEYWORDS, 2)
    assert card["clips"]["train"] == {**words, "_silence_": 2, "_unknown_": 2}
    assert set(card["clips"]["val"].values()) == {1}
    assert set(card["clips"]["test"].values()) == {1}
    assert card["speakers"] == {"train": 2, "val": 1, "test": 1}
    assert card["seconds"] == {"train": 13.0, "val": 6.5, "test": 6.5}


def test_classes_are_matched_by_name(hub: Path) -> None:
    shard = describe(hub)
    test = shard._splits["test"].table
    assert test.keys[test.labels == shard.labels.index("_silence_")].tolist() == ["test/11"]
    assert test.keys[test.labels == shard.labels.index("_unknown_")].tolist() == ["test/10"]


def test_waveforms_are_the_rows_own(hub: Path) -> None:
    shard = describe(hub)
    dataset, table = shard.get_dataset("val"), shard._splits["val"].table
    for row in range(11):
        waveform, label = dataset[row]
        expected, _ = soundfile.read(
            io.BytesIO(clip_bytes(int(table.keys[row].split("/")[1]), 0.5)), dtype="float32"
        )
        assert np.array_equal(waveform, expected)
        assert label == table.labels[row]


def test_silence_is_cut_from_the_long_rows(hub: Path) -> None:
    shard = describe(hub)
    silence = shard.labels.index("_silence_")
    for split, low, high in (("train", 0, 0.8 * 192_000), ("val", 0.8 * 192_000, 192_000)):
        table = shard._splits[split].table.take(shard._splits[split].table.labels == silence)
        assert set(table.keys) <= {"train/22", "train/23"}
        assert (table.starts >= int(low)).all()
        assert (table.starts + 16_000 <= int(high)).all()
        row = int(np.flatnonzero(shard._splits[split].table.labels == silence)[0])
        table = shard._splits[split].table
        recording = clip_bytes(int(table.keys[row].split("/")[1]), 12.0)
        samples, _ = soundfile.read(io.BytesIO(recording), dtype="float32")
        start = table.starts[row]
        assert np.array_equal(shard.get_dataset(split)[row][0], samples[start : start + 16_000])


@pytest.mark.parametrize("partition", ["iid", "quantity"])
def test_shards_cover_the_rows_once(hub: Path, partition: str) -> None:
    shards = [describe(hub, f"{rank}, 2", partition=partition)._splits["train"].table for rank in (1, 2)]
    names = [name for table in shards for name in table.names()]
    assert len(names) == len(set(names)) == 24
    assert sum(map(len, shards)) == 24


def test_only_the_shards_own_audio_is_opened(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []
    real = datasets.Dataset.__getitem__

    def opening(data: datasets.Dataset, key: int) -> Any:
        opened.append(key)
        return real(data, key)

    monkeypatch.setattr(datasets.Dataset, "__getitem__", opening)
    shard = describe(hub, "1, 2")
    own = [len(shard.get_dataset(split)) for split in ("train", "val", "test")]
    # Two recordings are measured by every envoy; crops of them need no further look.
    assert len(opened) <= sum(own) + 2 < 36


def test_names_instead_of_ids_and_four_words(hub: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    for split in ("train", "validation", "test"):
        write_split(other / "ks" / split / "0000.parquet", spoken(("0000000a", "0000000b")), names=None)
    shard = describe(other, labels=["go", "up"])
    assert json.loads(shard.dataset_description)["clips"]["train"] == {"go": 2, "up": 2}


def test_silence_is_not_an_unknown_word(hub: Path) -> None:
    clips = json.loads(describe(hub, labels=["yes", "_unknown_"]).dataset_description)["clips"]
    assert clips["train"] == {"yes": 2, "_unknown_": 20}
    assert clips["test"] == {"yes": 1, "_unknown_": 10}


def test_bad_rows_are_named_or_skipped(hub: Path) -> None:
    columns = {
        "file": ["a.wav", "b.wav"],
        "audio": [{"bytes": b"not sound", "path": None}, {"bytes": clip_bytes(1, 0.5), "path": None}],
        "label": [0, 0],
    }
    write_parquet(hub / "ks" / "test" / "0000.parquet", columns)
    with pytest.raises(DataError, match="superb/test/0: not a readable audio file"):
        describe(hub)
    shard = describe(hub, on_bad_clip="skip")
    assert len(shard.get_dataset("test")) == 1
    assert json.loads(shard.dataset_description)["skipped"] == 1


def test_missing_columns_are_named(hub: Path) -> None:
    write_parquet(hub / "ks" / "test" / "0000.parquet", {"file": ["a"], "label": [0]})
    with pytest.raises(DataError, match="no column audio"):
        describe(hub)


def test_missing_files_are_named(hub: Path) -> None:
    (hub / "ks" / "validation" / "0000.parquet").unlink()
    with pytest.raises(DataError) as error:
        describe(hub)
    missing = f"source 'hub': ks/validation/*.parquet of {hub}: no such file; "  # a folder has no revision
    assert str(error.value).startswith(missing)
