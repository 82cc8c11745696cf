"""The folder of one voice, in the layout of Speech Commands: an envoy reads it as its own recordings."""

from __future__ import annotations

import io
import re
import secrets
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from superb_node.audio import SAMPLE_RATE
from superb_node.errors import ToldError
from superb_node.labels import BACKGROUND, SILENCE, TESTING_LIST, VALIDATION_LIST, is_litter, keyword_ids
from superb_node.work_folder import replace_file

ROOM = "room"
"""Stands for the recording without speech where others have a word."""
SPLITS = ("train", "val", "test", "train", "test")
"""Of a word's takes, in turn: a clip that is recorded again is used for what the deleted one was."""
FEWEST_TAKES, MOST_TAKES = 3, 20

_CLIP = re.compile(r"([0-9a-f]{8})_nohash_\d+\.wav")


class VoiceError(ToldError):
    """The folder of a voice cannot be used; the message says what to do about it."""


class VoiceFolder:
    """The clips of one voice.

    Args:
        root: the folder; made when the first clip is kept, for this account alone.
        labels: the federation's classes; those that are words are spoken.
        takes: how often each word is.

    Attributes:
        words: what is recorded: the words, and `ROOM` if silence is a class.
        labels: the federation's classes.

    Raises:
        VoiceError: `takes` is illegal, or a class cannot be a folder's name.
    """

    def __init__(self, root: Path, labels: Sequence[str], takes: int = 5) -> None:
        if isinstance(takes, bool) or not isinstance(takes, int) or not FEWEST_TAKES <= takes <= MOST_TAKES:
            raise VoiceError(
                f"takes is {takes!r}; legal: {FEWEST_TAKES} to {MOST_TAKES}, one for each of train, "
                "validation and test at least"
            )
        self.root, self.labels, self.takes = root, tuple(labels), takes
        spoken = [self.labels[number] for number in keyword_ids(self.labels)]
        for word in spoken:  # labels come from other machines
            if Path(word).name != word or "\\" in word or is_litter(word) or word == ROOM:
                raise VoiceError(f"the class {word!r} cannot be the name of a folder of clips")
        self.words = (*spoken, *([ROOM] if SILENCE in self.labels else []))
        self._speaker = self._found_speaker() or secrets.token_hex(4)

    def wanted(self, word: str) -> int:
        """Return how many recordings of a word are wanted."""
        return 1 if word == ROOM else self.takes

    def takes_of(self, word: str) -> list[int]:
        """Return which takes of a word are there, from 0, in order."""
        return [take for take in range(self.wanted(word)) if self.path(word, take).is_file()]

    @property
    def recorded(self) -> int:
        """How many recordings there are."""
        return sum(len(self.takes_of(word)) for word in self.words)

    @property
    def missing(self) -> str:
        """What is still to be recorded, in words; empty if nothing is."""
        left = {word: self.wanted(word) - len(self.takes_of(word)) for word in self.words}
        return ", ".join(f"{word} {count}×" for word, count in left.items() if count > 0)

    def keep(self, word: str, samples: NDArray[np.int16]) -> int:
        """Write a recording; returns its take, the lowest that was free.

        Args:
            word: one of `words`.
            samples: at 16 kHz, shape [n_samples].

        Raises:
            VoiceError: all takes are there, or the folder cannot be written.
        """
        taken = self.takes_of(word)
        free = [take for take in range(self.wanted(word)) if take not in taken]
        if not free:
            raise VoiceError(
                f"all {self.wanted(word)} of {word!r} are recorded. Delete one to record it again"
            )
        wav = io.BytesIO()
        soundfile.write(wav, samples, SAMPLE_RATE, format="WAV", subtype="PCM_16")
        self._write(self.path(word, free[0]), wav.getvalue())
        self.write_lists()
        return free[0]

    def delete(self, word: str, take: int) -> None:
        """Remove a recording; what is not there is no error.

        Raises:
            VoiceError: it cannot be removed.
        """
        try:
            self.path(word, take).unlink(missing_ok=True)
        except OSError as error:
            raise VoiceError(f"{self.path(word, take)}: cannot be removed ({error.strerror})") from error
        self.write_lists()

    def path(self, word: str, take: int) -> Path:
        """Return where a recording is, or would be."""
        name = f"{ROOM}.wav" if word == ROOM else f"{self._speaker}_nohash_{take}.wav"
        return self._folder(word) / name

    def write_lists(self) -> None:
        """Write which clips are for validation and which for the test; all others are for training."""
        lists: dict[str, list[str]] = {"train": [], "val": [], "test": []}
        for word in self.words:
            for take in range(MOST_TAKES) if word != ROOM else ():
                if (path := self.path(word, take)).is_file():
                    lists[SPLITS[take % len(SPLITS)]].append(f"{word}/{path.name}\n")
        for name, split in ((VALIDATION_LIST, "val"), (TESTING_LIST, "test")):
            self._write(self.root / name, "".join(lists[split]).encode())

    def _folder(self, word: str) -> Path:
        if word not in self.words:
            raise VoiceError(f"{word!r} is not asked for; legal: {', '.join(self.words)}")
        return self.root / (BACKGROUND if word == ROOM else word)

    def _found_speaker(self) -> str:
        names = (path.name for path in sorted(self.root.glob("*/*_nohash_*.wav")))
        return next((match[1] for name in names if (match := _CLIP.fullmatch(name))), "")

    def _write(self, path: Path, content: bytes) -> None:
        """Write a file whole or not at all, for this account alone."""
        try:
            for folder in (self.root.parent, self.root, path.parent):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_file(path, content, mode=0o600)
        except OSError as error:
            raise VoiceError(f"{path}: cannot be written ({error.strerror})") from error
