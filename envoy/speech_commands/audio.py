"""One clip: what its header says, and its samples as a model wants them."""

from typing import BinaryIO, NamedTuple

import numpy as np
import soundfile
from numpy.typing import NDArray

from .errors import DataError

SAMPLE_RATE = 16_000  # Hz, of everything that leaves the data room

AudioFile = str | BinaryIO


class Header(NamedTuple):
    """Facts that cost no decoding: rate in Hz, length in frames, channels."""

    rate: int
    frames: int
    channels: int


def read_header(file: AudioFile, name: str) -> Header:
    """Read the header of one audio file, called `name` in messages.

    Raises:
        DataError: not audio, unreadable or empty.

    """
    try:
        with soundfile.SoundFile(file) as audio:
            header = Header(audio.samplerate, audio.frames, audio.channels)
    except (soundfile.SoundFileError, OSError, TypeError) as error:
        raise DataError(f"{name}: not a readable audio file ({error})") from error
    if header.frames <= 0:
        raise DataError(f"{name}: audio file without a single sample")
    return header


def decode(file: AudioFile, name: str, start: int = 0, frames: int = -1) -> NDArray[np.float32]:
    """Decode one clip, or `frames` frames of it from `start` on (both at the file's own rate).

    Returns:
        mono waveform in [-1, 1] at 16 kHz, float32, shape [n_samples].

    Raises:
        DataError: the file went, cannot be decoded, or holds no finite samples.

    """
    try:
        samples, rate = soundfile.read(file, frames=frames, start=start, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError, TypeError, RuntimeError) as error:
        raise DataError(f"{name}: cannot be decoded ({error})") from error
    mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
    if not len(mono) or not np.isfinite(mono).all():
        raise DataError(f"{name}: decodes to {'values that are not finite' if len(mono) else 'no samples'}")
    return np.clip(resample(mono, rate), -1.0, 1.0)


def resample(samples: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    """Bring a waveform of shape [n] from `rate` Hz to 16 kHz."""
    if rate == SAMPLE_RATE:
        return samples
    import librosa  # here and not above: its resampler loads numba, over 100 MB that 16 kHz clips never need

    return librosa.resample(samples, orig_sr=rate, target_sr=SAMPLE_RATE)
