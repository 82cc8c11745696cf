"""Turns a synthesiser's clean word into a clip as a phone in a room would record it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speech_commands.seeding import seeded_rng
from speech_commands.synthetic.espeak import ESPEAK_RATE
from superb_node.audio import SAMPLE_RATE

WINDOW_SECONDS = 2  # of the spectrum in which a word and its echo are computed
SNR_RANGE = (5.0, 40.0)  # dB
PEAK_RANGE = (-20.0, -1.0)  # dB below full scale
FULL_LENGTH_SHARE = 0.9  # of the clips last a second; the others are shorter, as in Speech Commands
MIN_SECONDS = 0.6
FADE = SAMPLE_RATE // 100  # samples
PAUSE_THRESHOLD = 0.02  # of the peak; quieter samples are a pause

Signal = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Room:
    """Where a speaker is: its microphone, echo and colour of the noise.

    Attributes:
        response: complex gain at the frequencies of a 2 s window at 16 kHz, shape [16001].
        noise_slope: 0 is white noise, 1 pink, 2 brown.
    """

    response: NDArray[np.complex128]
    noise_slope: float


def draw_room(*seed: object) -> Room:
    """Draw a room: a smooth equaliser of a few dB and a short, decaying echo."""
    rng = seeded_rng("room", *seed)
    samples = WINDOW_SECONDS * SAMPLE_RATE
    frequencies = np.fft.rfftfreq(samples, 1 / SAMPLE_RATE)
    knots = np.array([60.0, 250.0, 1000.0, 3000.0, 8000.0])
    gains = np.interp(np.log(frequencies + 1.0), np.log(knots), rng.normal(0.0, 3.0, len(knots)))
    time = np.arange(samples) / SAMPLE_RATE
    decay = np.exp(-6.9 * time / rng.uniform(0.05, 0.3)) * (time > 0.004)  # 60 dB in 50 to 300 ms
    impulse = rng.uniform(0.0, 0.06) * decay * rng.standard_normal(samples)
    impulse[0] = 1.0
    return Room(10 ** (gains / 20) * np.fft.rfft(impulse), rng.uniform(0.0, 2.0))


def record(speech: NDArray[np.int16], room: Room, rng: np.random.Generator) -> NDArray[np.int16]:
    """Record one word in a room.

    Args:
        speech: output of the synthesiser at 22,050 Hz, shape [n].
        room: the speaker's room.
        rng: draws position, length, level and noise of this take.

    Returns:
        a clip of at most one second at 16 kHz, shape [n_samples].
    """
    word = trim(apply_room(speech, room))[:SAMPLE_RATE]
    word[-FADE:] *= np.linspace(1.0, 0.0, FADE)
    clip = np.zeros(SAMPLE_RATE)
    if rng.random() > FULL_LENGTH_SHARE:
        clip = np.zeros(rng.integers(max(len(word), int(MIN_SECONDS * SAMPLE_RATE)), SAMPLE_RATE + 1))
    start = rng.integers(0, len(clip) - len(word) + 1)
    clip[start : start + len(word)] = word
    snr = rng.uniform(*SNR_RANGE)
    clip += rms(word) * 10 ** (-snr / 20) * coloured_noise(len(clip), room.noise_slope, rng)
    return to_int16(clip, peak=rng.uniform(*PEAK_RANGE))


def apply_room(speech: NDArray[np.int16], room: Room) -> Signal:
    """Resample to 16 kHz and apply the room, both on the spectrum of one window, which is exact and fast."""
    padded = np.zeros(WINDOW_SECONDS * ESPEAK_RATE)
    word = speech[: len(padded) * 3 // 4]  # the rest of the window is for the echo
    padded[: len(word)] = word
    spectrum = np.fft.rfft(padded)[: len(room.response)]
    return np.asarray(np.fft.irfft(spectrum * room.response, WINDOW_SECONDS * SAMPLE_RATE) / 2**15)


def trim(signal: Signal) -> Signal:
    """Cut the pauses off both ends."""
    loud = np.flatnonzero(np.abs(signal) > PAUSE_THRESHOLD * np.abs(signal).max())
    first, end = (loud[0], loud[-1] + 1) if len(loud) > FADE else (0, FADE)
    return np.array(signal[first:end])


def coloured_noise(samples: int, slope: float, rng: np.random.Generator) -> Signal:
    """Return Gaussian noise of RMS 1, shape [n], whose power falls as frequency to the power of `slope`."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    frequencies = np.fft.rfftfreq(samples, 1 / SAMPLE_RATE)
    spectrum *= np.maximum(frequencies, 50.0) ** (-slope / 2)
    noise = np.fft.irfft(spectrum, samples)
    return noise / rms(noise)


def rms(signal: Signal) -> float:
    """Return the root mean square."""
    return float(np.sqrt(np.mean(np.square(signal))))


def to_int16(signal: Signal, peak: float) -> NDArray[np.int16]:
    """Scale to a peak in dB below full scale and round to 16 bits."""
    scale = 10 ** (peak / 20) / max(float(np.abs(signal).max()), 1e-9)
    return np.round(signal * scale * 32767).astype(np.int16)
