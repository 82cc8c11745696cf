"""The reader: SUPERB's splits and classes, silence, waveforms."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speech_commands.reader.folders import read_folders
from speech_commands.reader.index import speaker_of
from speech_commands.reader.table import Split
from superb_node.labels import KEYWORDS, LABELS, SILENCE, UNKNOWN
from superb_node.shard_card import SPLITS

Folders = tuple[Path, Path]
WriteWav = Callable[..., Path]

SILENCE_ID = LABELS.index(SILENCE)


@pytest.fixture(scope="module")
def corpus(shared_dirs: Folders) -> dict[str, Split]:
    return read_folders(*shared_dirs).splits


def test_class_order_is_superbs() -> None:
    text = "yes no up down left right on off stop go _silence_ _unknown_"
    assert text.split() == list(LABELS)


def test_split_sizes_of_the_real_sample(corpus: dict[str, Split]) -> None:
    silence = {split: int((corpus[split].table.labels == SILENCE_ID).sum()) for split in SPLITS}
    assert {split: len(corpus[split]) - silence[split] for split in ("train", "val")} == {
        "train": 1360,
        "val": 340,
    }
    assert len(corpus["test"]) == 384
    assert silence == {"train": 120, "val": 30, "test": 32}


def test_silence_is_as_frequent_as_the_average_keyword(corpus: dict[str, Split]) -> None:
    for split in ("train", "val"):
        counts = Counter(corpus[split].table.labels.tolist())
        mean = sum(counts[LABELS.index(word)] for word in KEYWORDS) / len(KEYWORDS)
        assert abs(counts[SILENCE_ID] - mean) <= 0.5


def test_lists_decide_the_split(corpus: dict[str, Split], shared_dirs: Folders) -> None:
    listed = {
        name: set((shared_dirs[0] / name).read_text().split())
        for name in ("validation_list.txt", "testing_list.txt")
    }
    spoken = {s: set(corpus[s].table.keys[corpus[s].table.labels != SILENCE_ID]) for s in ("train", "val")}
    assert spoken["val"] == listed["validation_list.txt"]
    assert not spoken["train"] & (listed["validation_list.txt"] | listed["testing_list.txt"])
    assert not spoken["val"] & listed["testing_list.txt"]


def test_labels_follow_the_folders(corpus: dict[str, Split]) -> None:
    for split in SPLITS:
        table = corpus[split].table
        for key, label in zip(table.keys, table.labels, strict=True):
            folder = key.split("/")[0]
            expected = SILENCE if folder == "_background_noise_" else folder if folder in LABELS else UNKNOWN
            assert LABELS[label] == expected


def test_silence_crops_keep_to_their_stretch_and_last_a_second(
    corpus: dict[str, Split], shared_dirs: Folders
) -> None:
    for split, low, high in (("train", 0.0, 0.8), ("val", 0.8, 1.0)):
        table = corpus[split].table.take(corpus[split].table.labels == SILENCE_ID)
        assert len(set(table.keys)) == 6
        assert len(set(table.names())) > 0.9 * len(table)
        for key, start, frames in zip(table.keys, table.starts, table.frames, strict=True):
            total = soundfile.info(shared_dirs[0] / key).frames
            assert frames == 16_000
            assert int(low * total) <= start
            assert start + frames <= int(high * total)


def test_silence_crops_depend_on_the_seed_alone(shared_dirs: Folders, corpus: dict[str, Split]) -> None:
    train, test = shared_dirs
    again, other = (read_folders(train, test, seed=seed).splits for seed in (0, 1))
    assert np.array_equal(corpus["train"].table.starts, again["train"].table.starts)
    assert not np.array_equal(corpus["train"].table.starts, other["train"].table.starts)


def test_speakers_are_disjoint_over_splits(corpus: dict[str, Split]) -> None:
    speakers = {split: set(corpus[split].table.speakers) - {""} for split in SPLITS}
    assert {split: len(names) for split, names in speakers.items()} == {"train": 162, "val": 41, "test": 51}
    assert not speakers["train"] & speakers["val"]
    assert not speakers["test"] & (speakers["train"] | speakers["val"])


@pytest.mark.parametrize("split", SPLITS)
def test_waveforms_are_what_the_files_hold(corpus: dict[str, Split], split: str) -> None:
    rows = range(0, len(corpus[split]), 37)
    for row in rows:
        waveform, label = corpus[split].read(row)
        table = corpus[split].table
        start, frames = int(table.starts[row]), int(table.frames[row])
        path = f"{corpus[split].root}/{table.keys[row]}"
        pcm, rate = soundfile.read(path, start=start, frames=frames, dtype="int16")
        assert rate == 16_000
        assert waveform.dtype == np.float32
        assert np.array_equal(waveform, pcm.astype(np.float32) / 32768)
        assert type(label) is int
        assert label == table.labels[row]


@pytest.mark.parametrize(
    ("key", "speaker"),
    [
        ("yes/0a7c2a8d_nohash_0.wav", "0a7c2a8d"),
        ("_unknown_/bed_0a7c2a8d_nohash_12.wav", "0a7c2a8d"),
        ("_silence_/17.wav", ""),
        ("yes/anna.wav", ""),
    ],
)
def test_speaker_comes_from_the_file_name(key: str, speaker: str) -> None:
    assert speaker_of(key) == speaker


def test_other_rates_and_stereo_become_16_khz_mono(archives: Folders, write_wav: WriteWav) -> None:
    train, test = archives
    write_wav(train / "yes" / "00000001_nohash_0.wav", seconds=0.5, rate=8_000, channels=2)
    corpus = read_folders(train, test).splits
    row = corpus["train"].table.keys.tolist().index("yes/00000001_nohash_0.wav")
    waveform, _ = corpus["train"].read(row)
    assert waveform.shape == (8_000,)
    assert waveform.dtype == np.float32
    assert np.abs(waveform).max() <= 1.0


def test_a_tone_survives_resampling(tmp_path: Path) -> None:
    from superb_node.audio import decode

    time = np.arange(44_100) / 44_100
    soundfile.write(tmp_path / "tone.wav", 0.5 * np.sin(2 * np.pi * 1000 * time), 44_100)
    waveform = decode(str(tmp_path / "tone.wav"), "tone.wav")
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000)
    assert np.abs(waveform[500:-500] - expected[500:-500]).max() < 1e-3


def test_order_does_not_depend_on_the_listing(archives: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    import speech_commands.reader.index as index

    straight = read_folders(*archives).splits
    listed = index.visible_files
    monkeypatch.setattr(index, "visible_files", lambda folder: reversed(list(listed(folder))))
    backwards = read_folders(*archives).splits
    for split in SPLITS:
        assert straight[split].table.names() == backwards[split].table.names()


def test_hidden_files_and_loose_files_are_passed_over(archives: Folders) -> None:
    train, test = archives
    before = len(read_folders(train, test).splits["train"])
    (train / "yes" / ".DS_Store").write_bytes(b"junk")
    (train / "LICENSE").write_text("free")
    assert len(read_folders(train, test).splits["train"]) == before
