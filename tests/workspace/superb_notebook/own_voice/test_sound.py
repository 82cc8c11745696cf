"""What comes from the microphone: a second with a word in it, or one line that says what is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from superb_node.audio import SAMPLE_RATE
from superb_notebook.own_voice.sound import ROOM_SECONDS, SoundRefused, room_in, word_in

WORD = np.sin(2 * np.pi * 440 * np.arange(SAMPLE_RATE // 2) / SAMPLE_RATE)  # half a second


def pcm(samples: np.ndarray) -> bytes:
    return np.round(32_767 * np.clip(samples, -1, 1)).astype("<i2").tobytes()


def heard(start: float, loudness: float = 0.3, noise: float = 0.001) -> np.ndarray:
    """Two seconds with a word from `start` seconds on."""
    sound = np.random.default_rng(0).normal(0, noise, 2 * SAMPLE_RATE)
    first = round(start * SAMPLE_RATE)
    sound[first : first + len(WORD)] += loudness * WORD[: len(sound) - first]
    return sound


@pytest.mark.parametrize("start", [0.0, 0.3, 0.8, 1.5])
def test_the_clip_is_the_second_with_the_word_in_it(start: float) -> None:
    sound = heard(start)
    clip = word_in(pcm(sound))
    assert (clip.dtype, clip.shape) == (np.int16, (SAMPLE_RATE,))
    energies = [np.square(each.astype(float)).sum() for each in (clip, np.frombuffer(pcm(sound), "<i2"))]
    assert energies[0] > 0.98 * energies[1]


def test_a_word_in_the_middle_stands_in_the_middle_of_its_clip() -> None:
    loud = np.flatnonzero(np.abs(word_in(pcm(heard(0.75)))) > 3_000)
    assert abs(loud.mean() - SAMPLE_RATE / 2) < SAMPLE_RATE / 20


@pytest.mark.parametrize(
    ("sound", "what"),
    [
        (np.zeros(2 * SAMPLE_RATE), "the microphone gave nothing but zeros. Is it muted? Then record again"),
        (heard(0.5, 0.0), "no word was heard. Say it again, louder or nearer to the microphone"),
        (heard(0.5, 0.004, 1e-4), "no word was heard. Say it again, louder or nearer to the microphone"),
        (heard(0.5, 0.1, 0.1), "no word was heard. Say it again, louder or nearer to the microphone"),
        (heard(0.5, 3.0), "it was too loud: peaks are cut off. Record again, softer or farther away"),
        (heard(0.5)[1:], "the browser sent 63,998 bytes; legal: 64,000, 2 s of 16-bit sound at 16 kHz"),
    ],
    ids=["muted", "nothing said", "too soft", "lost in noise", "clipped", "too short"],
)
def test_what_is_no_clip_is_refused_in_one_line(sound: np.ndarray, what: str) -> None:
    with pytest.raises(SoundRefused) as refused:
        word_in(pcm(sound))
    assert str(refused.value) == what


def test_the_room_may_be_as_quiet_as_it_is() -> None:
    noise = np.random.default_rng(0).normal(0, 1e-4, ROOM_SECONDS * SAMPLE_RATE)
    assert room_in(pcm(noise)).shape == (ROOM_SECONDS * SAMPLE_RATE,)
    with pytest.raises(SoundRefused, match="nothing but zeros"):
        room_in(pcm(np.zeros(ROOM_SECONDS * SAMPLE_RATE)))
