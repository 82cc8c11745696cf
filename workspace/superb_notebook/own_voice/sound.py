"""What the browser's microphone has heard, checked before it becomes a clip."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from superb_node.audio import SAMPLE_RATE
from superb_node.errors import ToldError

WORD_SECONDS = 2
"""Of sound for a word: who is told to speak needs a moment, so the clip is the loudest second of it."""
ROOM_SECONDS = 10
"""Of the room without speech, from which silence is cut: the test's tenth of it is a second long."""

FRAME = SAMPLE_RATE // 50  # samples; 20 ms
SOFTEST = -45.0  # dB below full scale, of the loudest frame of a word
LEAST_CONTRAST = 10.0  # dB, of the loudest frame over the quiet ones: a voice stands out of its room
QUIET_SHARE = 0.2  # of the frames are the quiet ones
CLIPPED_RUN = 4  # samples in a row at full scale: the peak was cut off
ENERGY_KEPT = 0.99  # of the loudest second's: of all seconds with so much, the one in the middle is taken

Samples = NDArray[np.int16]


class SoundRefused(ToldError):
    """What was recorded is no clip; the message is one line that says why, and what helps."""


def word_in(pcm: bytes) -> Samples:
    """Return the second in which a word was said, shape [16000].

    Args:
        pcm: `WORD_SECONDS` of sound, 16-bit mono at 16 kHz, least significant byte first.

    Raises:
        SoundRefused: there is no word in it, or it was too loud.
    """
    samples = _samples(pcm, WORD_SECONDS)
    levels = _levels(samples)
    loudest = np.max(levels)
    contrast = loudest - np.quantile(levels, QUIET_SHARE)
    if loudest < SOFTEST or contrast < LEAST_CONTRAST:
        raise SoundRefused("no word was heard. Say it again, louder or nearer to the microphone")
    return _loudest_second(samples)


def room_in(pcm: bytes) -> Samples:
    """Return the sound of the room, shape [160000].

    Args:
        pcm: `ROOM_SECONDS` of sound, 16-bit mono at 16 kHz, least significant byte first.

    Raises:
        SoundRefused: the microphone gave nothing, or it was too loud.
    """
    return _samples(pcm, ROOM_SECONDS)


def _samples(pcm: bytes, seconds: int) -> Samples:
    wanted = 2 * seconds * SAMPLE_RATE
    if len(pcm) != wanted:
        raise SoundRefused(
            f"the browser sent {len(pcm):,} bytes; legal: {wanted:,}, {seconds} s of 16-bit sound at 16 kHz"
        )
    samples = np.frombuffer(pcm, dtype="<i2").astype(np.int16)
    if not samples.any():
        raise SoundRefused("the microphone gave nothing but zeros. Is it muted? Then record again")
    full = (np.abs(samples.astype(np.int32)) >= 32_767).astype(np.int8)
    if (np.convolve(full, np.ones(CLIPPED_RUN, np.int8), mode="valid") == CLIPPED_RUN).any():
        raise SoundRefused("it was too loud: peaks are cut off. Record again, softer or farther away")
    return samples


def _levels(samples: Samples) -> NDArray[np.float64]:
    """Return the level of each frame in dB below full scale."""
    frames = samples.reshape(-1, FRAME) / 32_768
    return np.asarray(10 * np.log10(np.mean(frames**2, axis=1) + 1e-10))


def _loudest_second(samples: Samples) -> Samples:
    energy = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])
    seconds = energy[SAMPLE_RATE:] - energy[:-SAMPLE_RATE]
    starts = np.flatnonzero(seconds >= ENERGY_KEPT * seconds.max())
    start = int(starts[len(starts) // 2])
    return samples[start : start + SAMPLE_RATE]
