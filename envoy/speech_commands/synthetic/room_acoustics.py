"""From a synthesiser's clean word to a clip as a stranger's phone would have recorded it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speech_commands.reader.audio import SAMPLE_RATE
from speech_commands.seeding import seeded_rng
from speech_commands.synthetic.espeak import ESPEAK_RATE

WINDOW = 2  # seconds in which a word and its echo are worked on
SNR_RANGE = (5.0, 40.0)  # dB
PEAK_RANGE = (-20.0, -1.0)  # dB below full scale
WHOLE_SECOND = 0.9  # of the clips; the others are shorter, as in Speech Commands
SHORTEST = 0.6  # seconds
FADE = SAMPLE_RATE // 100
SPOKEN = 0.02  # of the peak: below it counts as pause

Signal = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Room:
    """Where a speaker is: microphone, echo and the colour of the noise there.

    Attributes:
        response: complex gain on the frequencies of a 2 s window at 16 kHz, shape [16001].
        noise_slope: 0 white, 1 pink, 2 brown.

    """

    response: NDArray[np.complex128]
    noise_slope: float


def furnish(*seed: object) -> Room:
    """Draw a room: a smooth equaliser of a few dB and a short decaying echo."""
    rng = seeded_rng("room", *seed)
    samples = WINDOW * SAMPLE_RATE
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
        speech: what the synthesiser said at 22,050 Hz, shape [n].
        room: the speaker's.
        rng: draws position, length, level and noise of this take.

    Returns:
        a clip of at most one second at 16 kHz, shape [n_samples].

    """
    word = trim(hear(speech, room))[:SAMPLE_RATE]
    word[-FADE:] *= np.linspace(1.0, 0.0, FADE)
    clip = np.zeros(SAMPLE_RATE)
    if rng.random() > WHOLE_SECOND:
        clip = np.zeros(rng.integers(max(len(word), int(SHORTEST * SAMPLE_RATE)), SAMPLE_RATE + 1))
    start = rng.integers(0, len(clip) - len(word) + 1)
    clip[start : start + len(word)] = word
    snr = rng.uniform(*SNR_RANGE)
    clip += rms(word) * 10 ** (-snr / 20) * coloured_noise(len(clip), room.noise_slope, rng)
    return to_int16(clip, peak=rng.uniform(*PEAK_RANGE))


def hear(speech: NDArray[np.int16], room: Room) -> Signal:
    """Resample to 16 kHz and apply the room, both on the spectrum of one window: exact and fast."""
    padded = np.zeros(WINDOW * ESPEAK_RATE)
    said = speech[: len(padded) * 3 // 4]  # the rest of the window is for the echo
    padded[: len(said)] = said
    spectrum = np.fft.rfft(padded)[: len(room.response)]
    return np.asarray(np.fft.irfft(spectrum * room.response, WINDOW * SAMPLE_RATE) / 2**15)


def trim(signal: Signal) -> Signal:
    """Cut the pauses off both ends."""
    loud = np.flatnonzero(np.abs(signal) > SPOKEN * np.abs(signal).max())
    first, end = (loud[0], loud[-1] + 1) if len(loud) > FADE else (0, FADE)
    return np.array(signal[first:end])


def coloured_noise(samples: int, slope: float, rng: np.random.Generator) -> Signal:
    """Return Gaussian noise, its power falling as frequency to the power of `slope`: RMS 1, shape [n]."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    frequencies = np.fft.rfftfreq(samples, 1 / SAMPLE_RATE)
    spectrum *= np.maximum(frequencies, 50.0) ** (-slope / 2)
    noise = np.fft.irfft(spectrum, samples)
    return noise / rms(noise)


def rms(signal: Signal) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(signal))))


def to_int16(signal: Signal, peak: float) -> NDArray[np.int16]:
    """Scale to a peak in dB below full scale and round to 16 bits."""
    scale = 10 ** (peak / 20) / max(float(np.abs(signal).max()), 1e-9)
    return np.round(signal * scale * 32767).astype(np.int16)
