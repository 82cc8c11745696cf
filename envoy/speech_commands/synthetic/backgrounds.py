"""Generates background recordings, for `_silence_` and for noise: they contain no intelligible word."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from speech_commands.synthetic.room_acoustics import Signal, coloured_noise, rms, to_int16
from superb_node.audio import SAMPLE_RATE

BABBLE_VOICES = 6
SWELL = 18.0  # dB between the quietest and the loudest moment of a recording


def hum(samples: int, rng: np.random.Generator) -> Signal:
    """Return mains hum with its harmonics over a quiet hiss."""
    time = np.arange(samples) / SAMPLE_RATE
    mains = rng.choice([50.0, 60.0]) * rng.uniform(0.998, 1.002)
    tones = [np.sin(2 * np.pi * (k * mains * time + rng.random())) / k for k in range(1, 12)]
    return np.asarray(np.sum(tones, axis=0) + 0.1 * coloured_noise(samples, 1.0, rng))


def machine(samples: int, rng: np.random.Generator) -> Signal:
    """Return noise that swells and fades several times a second, like a motor."""
    time = np.arange(samples) / SAMPLE_RATE
    strokes = 1.0 + 0.9 * np.sin(2 * np.pi * (rng.uniform(4.0, 12.0) * time + rng.random()))
    return strokes * coloured_noise(samples, rng.uniform(0.3, 1.5), rng)


def babble(samples: int, rng: np.random.Generator, speech: Signal) -> Signal:
    """Return several voices at once, played backwards so that no word can be understood."""
    backwards = np.resize(speech[::-1], max(samples, len(speech)))
    voices = [np.roll(backwards, rng.integers(len(backwards)))[:samples] for _ in range(BABBLE_VOICES)]
    return np.asarray(np.sum(voices, axis=0) + 1e-4 * coloured_noise(samples, 1.0, rng))


def noise(slope: float) -> Callable[[int, np.random.Generator, Signal], Signal]:
    """Return a function that makes noise whose power falls as frequency to the power of `slope`."""
    return lambda samples, rng, _speech: coloured_noise(samples, slope, rng)


KINDS: dict[str, Callable[[int, np.random.Generator, Signal], Signal]] = {
    "babble": babble,
    "brown_noise": noise(2.0),
    "machine": lambda samples, rng, _speech: machine(samples, rng),
    "mains_hum": lambda samples, rng, _speech: hum(samples, rng),
    "pink_noise": noise(1.0),
    "white_noise": noise(0.0),
}


def background(kind: str, seconds: float, rng: np.random.Generator, speech: Signal) -> NDArray[np.int16]:
    """Make a background recording that slowly swells and fades.

    Args:
        kind: one of `KINDS`.
        seconds: length of the recording.
        rng: generator for all choices.
        speech: source of the babble, at 16 kHz, shape [n].

    Returns:
        samples at 16 kHz, shape [seconds * 16000].
    """
    samples = round(seconds * SAMPLE_RATE)
    signal = KINDS[kind](samples, rng, speech)
    knots = rng.uniform(-SWELL, 0.0, max(2, round(seconds)))
    swell = np.interp(np.arange(samples), np.linspace(0, samples, len(knots)), knots)
    return to_int16(10 ** (swell / 20) * signal / rms(signal), peak=rng.uniform(-24.0, -3.0))
