"""eSpeak NG with its phonemes: which sound begins at which sample, and how a text would be pronounced."""

import ctypes
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speech_commands.synthetic.espeak import AUDIO_OUTPUT_SYNCHRONOUS, CHARS_UTF8, ESPEAK_RATE, Engine
from superb_node.errors import DataError

# Constants of espeak-ng/speak_lib.h.
PHONEME_EVENTS = 1
PHONEME, LIST_TERMINATED = 7, 0

PAUSE = "_"


class Identity(ctypes.Union):
    """The union in `espeak_EVENT`."""

    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class Event(ctypes.Structure):
    """`espeak_EVENT`."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", Identity),
    ]


@dataclass(frozen=True, eq=False)
class Utterance:
    """What was said.

    Attributes:
        samples: int16, shape [n].
        rate: samples a second.
        names: of the phonemes in order, without stress and length; a pause is "_".
        starts: the sample at which each begins, shape [n_phonemes].

    """

    samples: NDArray[np.int16]
    rate: int
    names: list[str]
    starts: NDArray[np.int64]


class PhoneticEngine(Engine):
    """The one synthesiser of a process, with phoneme events."""

    def __init__(self) -> None:
        """Load the library and its data, and ask for events."""
        super().__init__()
        import espeakng_loader

        self._events: list[tuple[str, int]] = []
        data = espeakng_loader.get_data_path().encode()
        rate = self._library.espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, 0, data, PHONEME_EVENTS)
        if rate != ESPEAK_RATE:
            raise DataError("eSpeak NG from the package espeakng-loader does not start with phoneme events")
        self._library.espeak_SetSynthCallback(self._callback)
        self._library.espeak_TextToPhonemes.restype = ctypes.c_char_p

    def _receive(self, samples: "ctypes._Pointer[ctypes.c_short]", count: int, events: int) -> int:
        if events:
            row = ctypes.cast(events, ctypes.POINTER(Event))
            number = 0
            while row[number].type != LIST_TERMINATED:
                if row[number].type == PHONEME:
                    self._events.append(
                        (row[number].id.string.decode("utf-8", "replace"), row[number].sample)
                    )
                number += 1
        return super()._receive(samples, count, events)

    def utter(self, text: str, rate: int, pitch: int, pitch_range: int) -> Utterance:
        """Speak a text; the arguments are those of `Engine.say`.

        The very first utterance of a process may lack its first event: one clip in a corpus.
        """
        self._events.clear()
        samples = self.say(text, rate, pitch, pitch_range)
        return Utterance(
            samples,
            ESPEAK_RATE,
            [name.lstrip("',%").strip("_:") or PAUSE for name, _ in self._events],
            np.array([start for _, start in self._events], dtype=np.int64),
        )

    def phonemes(self, text: str) -> str:
        """Return a text in eSpeak NG's phoneme mnemonics, in the voice in use; words are parted by spaces."""
        pointer = ctypes.c_char_p(text.encode())
        parts = []
        while pointer.value is not None:
            part = self._library.espeak_TextToPhonemes(ctypes.byref(pointer), CHARS_UTF8, 0)
            parts.append(part.decode())
        return " ".join(parts)
