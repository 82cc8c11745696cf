"""Clips at the extremes: what can be played is, and what cannot is named at opening, not in a task."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speech_commands.check.inspection import inspect
from speech_commands.reader.folders import read_folders
from superb_node.errors import DataError
from superb_shard_descriptor import SuperbShardDescriptor

Folders = tuple[Path, Path]
CLIP = Path("yes") / "00000001_nohash_0.wav"
NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, 160_000)


def spoil(value: float) -> np.ndarray:
    samples = NOISE[:1600].astype(np.float32)
    samples[700] = value
    return samples


def write(path: Path, samples: np.ndarray, rate: int = 16_000, subtype: str = "PCM_16") -> None:
    soundfile.write(path, samples, rate, subtype=subtype)


def read_first(train: Path) -> np.ndarray:
    shard = SuperbShardDescriptor("1, 1", "folder", str(train))
    dataset = shard.get_dataset("train")
    row = dataset._split.table.keys.tolist().index(str(CLIP))
    return dataset[row][0]


def kinds(archives: Folders) -> dict[str, list[str]]:
    return inspect(read_folders(*archives, on_bad_clip="skip"), archives[0]).places


@pytest.mark.parametrize(
    ("samples", "rate", "subtype", "length", "found"),
    [
        (NOISE[:800], 16_000, "PCM_16", 800, ["shorter than a sixteenth of a second"]),
        (NOISE[:1], 16_000, "PCM_16", 1, ["shorter than a sixteenth of a second"]),
        (NOISE[:160_000], 16_000, "PCM_16", 160_000, ["longer than a second"]),
        (NOISE[:3200].reshape(1600, 2), 16_000, "PCM_16", 1600, ["stereo"]),
        (NOISE[:4000], 8_000, "PCM_16", 8_000, ["other rate"]),
        (NOISE[:24_000], 48_000, "PCM_16", 8_000, ["other rate"]),
        (NOISE[:96_000], 192_000, "PCM_16", 8_000, ["other rate"]),
        (NOISE[:1600], 16_000, "PCM_24", 1600, []),
        (NOISE[:1600], 16_000, "FLOAT", 1600, []),
        (NOISE[:1600], 16_000, "DOUBLE", 1600, []),
        (np.zeros(1600), 16_000, "PCM_16", 1600, ["silent"]),
    ],
    ids=lambda value: str(getattr(value, "shape", value)),
)
def test_what_can_be_played_is_and_is_mentioned(
    archives: Folders, samples: np.ndarray, rate: int, subtype: str, length: int, found: list[str]
) -> None:
    write(archives[0] / CLIP, samples, rate, subtype)
    waveform = read_first(archives[0])
    assert (waveform.shape, waveform.dtype) == ((length,), np.float32)
    assert np.isfinite(waveform).all()
    assert list(kinds(archives)) == found


def flac_that_breaks_off(path: Path) -> None:
    soundfile.write(path, NOISE[:16_000], 16_000, format="FLAC")
    path.write_bytes(path.read_bytes()[:200])


@pytest.mark.parametrize(
    ("damage", "complaint", "kind"),
    [
        (
            lambda path: write(path, spoil(np.nan), subtype="FLOAT"),
            "values that are not finite",
            "unreadable",
        ),
        (
            lambda path: write(path, spoil(np.inf), subtype="DOUBLE"),
            "values that are not finite",
            "unreadable",
        ),
        (lambda path: write(path, np.zeros(0)), "without a single sample", "unreadable"),
        (lambda path: write(path, np.tile(NOISE, 60)), "lasts 600.0 s; a clip may last 10 s", "too long"),
        (lambda path: write(path, np.tile(NOISE, 2)), "lasts 20.0 s", "too long"),
        (flac_that_breaks_off, str(CLIP), "unreadable"),
    ],
    ids=["nan", "inf", "empty", "ten minutes", "twenty seconds", "cut FLAC"],
)
def test_what_cannot_be_trained_on_is_named_at_opening(
    archives: Folders, damage: Callable[[Path], None], complaint: str, kind: str
) -> None:
    damage(archives[0] / CLIP)
    with pytest.raises(DataError, match=complaint) as caught:
        SuperbShardDescriptor("1, 1", "folder", str(archives[0]))
    assert str(CLIP) in str(caught.value)
    assert list(kinds(archives)) == [kind]
    shard = SuperbShardDescriptor("1, 1", "folder", str(archives[0]), on_bad_clip="skip")
    card = json.loads(shard.dataset_description)
    assert (card["skipped"], card["clips"]["train"]["yes"]) == (1, 1)


def test_a_long_background_recording_is_no_clip(archives: Folders) -> None:
    write(archives[0] / "_background_noise_" / "hum.wav", np.tile(NOISE, 12))
    assert len(read_first(archives[0])) == 1600
    assert kinds(archives) == {}
