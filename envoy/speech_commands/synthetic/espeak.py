"""eSpeak NG inside this process, from the wheel `espeakng-loader`; no system package is needed.

Its audio depends on the random seed *and on everything spoken before*. Repeatable speech therefore needs a
fresh process and a fixed order of words.
"""

import ctypes
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from superb_node.errors import DataError

ESPEAK_RATE = 22_050  # Hz, fixed by eSpeak NG

# Constants of espeak-ng/speak_lib.h.
AUDIO_OUTPUT_SYNCHRONOUS = 2
CHARS_UTF8 = 1
RATE, VOLUME, PITCH, RANGE = 1, 2, 3, 4
NORMAL_VOLUME = 100

CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


def require_espeak() -> None:
    """Check that the wheel is installed, without loading it.

    Raises:
        DataError: it is not installed.
    """
    if find_spec("espeakng_loader") is None:
        raise DataError("source 'synthetic' needs espeakng-loader: pip install -r sd_requirements.txt")


class Engine:
    """The one synthesiser of a process."""

    def __init__(self) -> None:
        """Load the library and its data."""
        import espeakng_loader

        self._chunks: list[NDArray[np.int16]] = []
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = espeakng_loader.get_data_path().encode()
        if self._library.espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, 0, data, 0) != ESPEAK_RATE:
            raise DataError("eSpeak NG from the package espeakng-loader does not start")
        # Kept on self: eSpeak NG holds only a pointer, and Python would free the function.
        self._callback = CALLBACK(self._receive)
        self._library.espeak_SetSynthCallback(self._callback)

    def _receive(self, samples: "ctypes._Pointer[ctypes.c_short]", count: int, _events: int) -> int:
        if samples and count > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def use_voice(self, accent: str, variant: str) -> None:
        """Speak with an accent (`en-us`) and a voice variant (`f3`) from now on.

        Raises:
            DataError: this eSpeak NG has no such voice.
        """
        name = f"{accent}+{variant}"
        if self._library.espeak_SetVoiceByName(name.encode()) != 0:
            raise DataError(f"eSpeak NG has no voice {name!r}")

    def say(self, word: str, rate: int, pitch: int, pitch_range: int) -> NDArray[np.int16]:
        """Speak one word.

        Args:
            word: English text.
            rate: words per minute, 80 to 450.
            pitch: 0 to 100; 50 is the voice's own.
            pitch_range: 0 (monotone) to 100.

        Returns:
            samples at 22,050 Hz, shape [n].
        """
        for parameter, value in ((RATE, rate), (VOLUME, NORMAL_VOLUME), (PITCH, pitch), (RANGE, pitch_range)):
            self._library.espeak_SetParameter(parameter, value, 0)
        self._chunks.clear()
        self._library.espeak_ng_SetRandSeed(1)
        text = word.encode() + b"\0"
        self._library.espeak_Synth(text, len(text), 0, 0, 0, CHARS_UTF8, None, None)
        return np.concatenate(self._chunks) if self._chunks else np.zeros(0, np.int16)
