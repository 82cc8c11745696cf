"""A corpus of many speakers that takes no time to make: each has a few clips of noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from superb_node.audio import SAMPLE_RATE
from superb_node.labels import BACKGROUND, KEYWORDS, SILENCE, TEST_FOLDER, TRAIN_FOLDER


def write_many_speakers(folder: Path, train: int, val: int, test: int, seconds: float = 0.1) -> Path:
    """Write both archives below `folder`; returns the training archive's.

    Args:
        folder: exists.
        train: speakers; each says each keyword once.
        val: the same, for validation.
        test: the same, in the test archive.
        seconds: length of a clip.
    """
    archive = folder / TRAIN_FOLDER
    speakers = [f"{number:08x}" for number in range(train + val + test)]
    for word in KEYWORDS:
        (archive / word).mkdir(parents=True)
        (folder / TEST_FOLDER / word).mkdir(parents=True)
    for number, speaker in enumerate(speakers):
        root = archive if number < train + val else folder / TEST_FOLDER
        for label, word in enumerate(KEYWORDS):
            _write(root / word / f"{speaker}_nohash_0.wav", seconds, number, label)
    (archive / BACKGROUND).mkdir()
    _write(archive / BACKGROUND / "hum.wav", 20.0, 0, 0)
    (folder / TEST_FOLDER / SILENCE).mkdir()
    for number in range(test):
        _write(folder / TEST_FOLDER / SILENCE / f"{number}.wav", seconds, number, 0)
    listed = [
        f"{word}/{speaker}_nohash_0.wav\n" for word in KEYWORDS for speaker in speakers[train : train + val]
    ]
    (archive / "validation_list.txt").write_text("".join(listed), encoding="utf-8")
    (archive / "testing_list.txt").write_text("", encoding="utf-8")
    return archive


def _write(path: Path, seconds: float, speaker: int, label: int) -> None:
    """Write a tone that tells the word, in noise that tells the speaker."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    noise = np.random.default_rng(speaker).normal(0.0, 0.02, len(time))
    soundfile.write(path, 0.2 * np.sin(2 * np.pi * 200.0 * (label + 1) * time) + noise, SAMPLE_RATE)
