"""Flite speaks with its phonemes where its sounds are; without it, or without a voice, one line says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pretraining import flite
from pretraining.phonetics import PAUSE
from pretraining.speaking import LABEL_STEP, label
from superb_node.errors import DataError


@pytest.mark.parametrize("voice", flite.VOICES)
def test_phonemes_begin_where_their_sounds_do(voice: str, flite_is_here: None) -> None:
    said = flite.utter("sheep", voice, stretch=1.2, pitch=1.0)
    assert said.rate == 16_000
    assert [name for name in said.names if name != PAUSE] == ["S", "i", "p"]
    assert said.starts[0] == 0
    assert (np.diff(said.starts) > 0).all()
    assert said.starts[-1] < len(said.samples)
    hiss, vowel = (said.samples[said.starts[i] : said.starts[i + 1]].astype(float) for i in (1, 2))

    def crossings(sound: np.ndarray) -> float:
        return float(np.mean(np.diff(np.sign(sound)) != 0))

    assert crossings(hiss) > 2 * crossings(vowel)


def test_a_stretched_word_is_longer_and_pitch_is_changed(flite_is_here: None) -> None:
    usual, longer = (flite.utter("sheep", "slt", stretch, 1.0) for stretch in (1.0, 1.5))
    assert len(longer.samples) > 1.3 * len(usual.samples)
    again, higher = (flite.utter("sheep", "slt", 1.0, pitch) for pitch in (1.0, 1.3))
    np.testing.assert_array_equal(again.samples, usual.samples)
    assert not np.array_equal(higher.samples[: len(usual.samples)], usual.samples[: len(higher.samples)])


def test_its_samples_are_taken_as_they_are(flite_is_here: None) -> None:
    said, names = flite.utter("sheep", "rms", 1.0, 1.0), {PAUSE: 0}
    samples, ids = label(said, names)
    assert list(names) == [PAUSE, "S", "i", "p"]
    assert len(samples) == len(ids) * LABEL_STEP
    first = said.starts[1]
    assert np.abs(samples - said.samples[first : first + len(samples)].astype(float)).max() <= 1


def test_words_are_pronounced_in_the_names_of_espeak(flite_is_here: None) -> None:
    assert flite.pronounce(["know", "write", "one", "judge"]) == {
        "know": "noU",
        "write": "raIt",
        "one": "wVn",
        "judge": "dZVdZ",
    }


def test_without_the_command_one_line_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match=r"needs the command flite: sudo apt install flite, or brew install"):
        flite.require_flite()


def test_the_version_is_what_the_command_calls_it(flite_is_here: None) -> None:
    assert flite.version().startswith("flite-")


@pytest.fixture
def another_flite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file of a command `flite` that stands before the real one."""
    file = tmp_path / "flite"
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return file


def write_command(file: Path, script: str) -> None:
    file.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    file.chmod(0o755)


def test_a_flite_that_lacks_voices_or_fails_is_named(another_flite: Path) -> None:
    write_command(another_flite, "echo 'Voices available: kal16 slt'")
    with pytest.raises(DataError, match=r"has no voice awb, rms; it has: kal16, slt"):
        flite.require_flite()
    write_command(another_flite, "echo 'no such voice' >&2; exit 3")
    with pytest.raises(DataError, match=r"flite ends with 3: no such voice"):
        flite.utter("sheep", "slt", 1.0, 1.0)
    write_command(another_flite, "echo pau pau")
    with pytest.raises(DataError, match=r"flite pronounces 1 of 2 words"):
        flite.pronounce(["one", "two"])
