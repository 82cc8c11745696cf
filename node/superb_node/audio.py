"""One clip: what its header says, and its samples as a model wants them."""

import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple

import numpy as np
import soundfile
from numpy.typing import NDArray

from superb_node.errors import DataError

SAMPLE_RATE = 16_000  # Hz, of every waveform that a model is given

RATES = (1_000, 768_000)  # Hz
MAX_CHANNELS = 64
MAX_SECONDS = 3_600
MAX_CLIP_SECONDS = 10  # of what a model is given at once: its memory grows with the square of the length
BLOCK = 1 << 18  # frames

AudioFile = str | BinaryIO


class AudioBytes(io.BytesIO):
    """An audio file in memory."""

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; one before the start, which damaged headers ask for, is the start."""
        try:
            return super().seek(offset, whence)
        except ValueError:
            return super().seek(0)


class Header(NamedTuple):
    """Facts about a file: rate in Hz, length in frames, channels."""

    rate: int
    frames: int
    channels: int


def read_header(file: AudioFile, name: str) -> Header:
    """Read the header of one audio file, called `name` in messages.

    Whole numbers in a WAV file can be played whatever they are. Compressed audio may break off, and a float
    be no number, so of these the samples are read as well.

    Raises:
        DataError: not audio, unreadable, empty, or with a header that cannot be true.

    """
    with opened(file, name) as audio:
        if not (audio.format in ("WAV", "WAVEX") and audio.subtype.startswith("PCM")):
            require_finite(audio.blocks(BLOCK, dtype="float32"), name)
        return Header(audio.samplerate, audio.frames, audio.channels)


def decode(file: AudioFile, name: str, start: int = 0, frames: int = -1) -> NDArray[np.float32]:
    """Decode one clip, or `frames` frames of it from `start` on (both at the file's own rate).

    Returns:
        mono waveform in [-1, 1] at 16 kHz, float32, shape [n_samples].

    Raises:
        DataError: the file is gone, cannot be decoded, or holds no finite samples.

    """
    with opened(file, name) as audio:
        rate = audio.samplerate
        if start:
            audio.seek(min(start, audio.frames))
        samples = audio.read(frames, dtype="float32", always_2d=True)
    require_finite([samples], name)
    mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
    return np.clip(resample(mono, rate), -1.0, 1.0)


@contextmanager
def opened(file: AudioFile, name: str) -> Iterator[soundfile.SoundFile]:
    """Open an audio file and turn whatever goes wrong with it into a DataError.

    A damaged header can promise terabytes, so its figures are checked before anything is allocated by them.
    """
    # As bytes, because soundfile refuses names that are not UTF-8 if they come as text.
    source = os.fsencode(file) if isinstance(file, str) else file
    try:
        with soundfile.SoundFile(source) as audio:
            require_plausible(audio, name)
            yield audio
    except (soundfile.SoundFileError, OSError, TypeError, RuntimeError) as error:
        raise DataError(f"{name}: not a readable audio file ({error})") from error


def require_finite(blocks: Iterable[NDArray[np.float32]], name: str) -> None:
    """Check that there are samples and that all of them are numbers."""
    count = 0
    for block in blocks:
        count += len(block)
        if not np.isfinite(block).all():
            raise DataError(f"{name}: decodes to values that are not finite")
    if not count:
        raise DataError(f"{name}: decodes to no samples")


def require_plausible(audio: soundfile.SoundFile, name: str) -> None:
    """Check the figures in a header."""
    if audio.frames <= 0:
        raise DataError(f"{name}: audio file without a single sample")
    low, high = RATES
    if not low <= audio.samplerate <= high:
        raise DataError(f"{name}: has {audio.samplerate} Hz; {low} to {high} Hz are read")
    if audio.channels > MAX_CHANNELS or audio.frames > MAX_SECONDS * audio.samplerate:
        raise DataError(
            f"{name}: claims {audio.channels} channels and {audio.frames / audio.samplerate:.0f} s; up to "
            f"{MAX_CHANNELS} channels and {MAX_SECONDS} s are read"
        )


def resample(samples: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    """Bring a waveform of shape [n] from `rate` Hz to 16 kHz."""
    if rate == SAMPLE_RATE:
        return samples
    import librosa  # here and not above: its resampler loads numba, over 100 MB that 16 kHz clips never need

    return librosa.resample(samples, orig_sr=rate, target_sr=SAMPLE_RATE)
