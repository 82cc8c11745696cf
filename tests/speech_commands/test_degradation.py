"""Scenarios: each distortion is what its setting says, repeatable, and on this envoy alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from speech_commands.degradation import add_noise
from superb_node.errors import DataError
from superb_shard_descriptor import SuperbShardDescriptor

Folders = tuple[Path, Path]


def describe(dirs: Folders, **scenario: Any) -> SuperbShardDescriptor:
    return SuperbShardDescriptor("1, 2", "folder", str(dirs[0]), scenario=scenario or None)


def power(waveform: np.ndarray) -> float:
    return float(np.mean(np.square(waveform, dtype=np.float64)))


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 10.0, 30.0])
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_snr_obtained_is_the_snr_asked_for(shared_dirs: Folders, snr_db: float, split: str) -> None:
    clean = describe(shared_dirs).get_dataset(split)
    noisy = describe(shared_dirs, snr_db=snr_db).get_dataset(split)
    measured = []
    for row in range(0, len(clean), 5):
        (speech, label), (mixture, same_label) = clean[row], noisy[row]
        assert label == same_label
        peak = np.abs(mixture).max()
        assert peak <= 1.0
        if peak < 0.999 and power(speech) > 0.0:  # not turned down as a whole, so the noise is the difference
            noise = mixture.astype(np.float64) - speech
            measured.append(10 * np.log10(power(speech) / power(noise)))
    assert len(measured) > 10
    assert np.abs(np.array(measured) - snr_db).max() < 0.1


def test_a_mixture_beyond_full_scale_keeps_its_ratio() -> None:
    rng = np.random.default_rng(0)
    speech = rng.uniform(-1, 1, 16_000).astype(np.float32)
    noise = rng.uniform(-1, 1, 16_000).astype(np.float32)
    mixture = add_noise(speech, noise, snr_db=3.0)
    assert np.abs(mixture).max() == pytest.approx(1.0)
    # Least squares on the two known parts gives what each was scaled by.
    parts = np.stack([speech, noise], axis=1).astype(np.float64)
    (of_speech, of_noise), *_ = np.linalg.lstsq(parts, mixture, rcond=None)
    ratio = 20 * np.log10(of_speech / of_noise) + 10 * np.log10(power(speech) / power(noise))
    assert ratio == pytest.approx(3.0, abs=0.01)


def test_silence_without_power_stays_as_it_is() -> None:
    silent, noise = np.zeros(100, np.float32), np.ones(100, np.float32)
    assert np.array_equal(add_noise(silent, noise, 10.0), silent)
    assert np.array_equal(add_noise(noise, silent, 10.0), noise)


def test_noise_is_repeatable_and_differs_between_clips(shared_dirs: Folders) -> None:
    clean, first, second = (
        describe(shared_dirs, **scenario).get_dataset("train")
        for scenario in ({}, {"snr_db": 0}, {"snr_db": 0})
    )
    assert np.array_equal(first[3][0], second[3][0])
    noises = [first[row][0] - clean[row][0] for row in (3, 4)]
    shared = min(map(len, noises))
    assert abs(np.corrcoef(noises[0][:shared], noises[1][:shared])[0, 1]) < 0.5


def test_gain(archives: Folders) -> None:
    clean, quiet, loud = (
        describe(archives, **scenario).get_dataset("train")[0][0]
        for scenario in ({}, {"gain_db": -20}, {"gain_db": 40})
    )
    assert np.allclose(quiet, 0.1 * clean, atol=1e-7)
    assert np.abs(loud).max() == 1.0


def test_label_noise_is_in_training_alone_and_at_its_rate(shared_dirs: Folders) -> None:
    clean, noisy = describe(shared_dirs), describe(shared_dirs, label_noise=0.3)
    wrong = clean._splits["train"].table.labels != noisy._splits["train"].table.labels
    assert 0.24 < wrong.mean() < 0.36
    assert set(noisy._splits["train"].table.labels[wrong].tolist()) == set(range(12))
    for split in ("val", "test"):
        assert np.array_equal(clean._splits[split].table.labels, noisy._splits[split].table.labels)
    everything = describe(shared_dirs, label_noise=1)._splits["train"].table.labels
    assert (everything != clean._splits["train"].table.labels).all()


def test_missing_class(archives: Folders) -> None:
    shard = SuperbShardDescriptor("1, 1", "folder", str(archives[0]), scenario={"missing_class": "stop"})
    clips = json.loads(shard.dataset_description)["clips"]
    assert [clips[split]["stop"] for split in ("train", "val", "test")] == [0, 0, 0]
    assert clips["train"]["go"] == 2


def test_the_card_tells(archives: Folders) -> None:
    card = json.loads(describe(archives, snr_db=5, label_noise=0.5).dataset_description)
    assert card["scenario"] == {"snr_db": 5, "label_noise": 0.5, "gain_db": 0.0, "missing_class": None}
    assert "scenario" not in json.loads(describe(archives).dataset_description)


def test_noise_without_recordings_is_an_error(archives: Folders) -> None:
    (archives[0] / "_background_noise_" / "hum.wav").unlink()
    with pytest.raises(DataError, match="background recordings"):
        SuperbShardDescriptor(
            "1, 1", "folder", str(archives[0]), labels=["yes", "no"], scenario={"snr_db": 5}
        )
