"""The clips of a test archive's folder, for listening and for scoring without the federation."""

from __future__ import annotations

import html
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from IPython.display import HTML, Audio

from superb_ks.classify import read_wav
from superb_ks.model import SAMPLING_RATE

UNKNOWN = "_unknown_"
"""The class of every folder whose name is no class of its own."""

_BACKGROUND = "_background_noise_"


class ClipFolder:
    """Clips below a folder that has one folder for each word; decoded when they are asked for.

    Attributes:
        paths: the files, sorted by folder and name.
        labels: their class numbers, int64 [n_clips].
    """

    def __init__(self, root: Path | None, classes: Sequence[str]) -> None:
        """Find the clips.

        Args:
            root: the test archive's folder; None for no clips at all.
            classes: class names in the order of their numbers.
        """
        self.classes = tuple(classes)
        self.paths: list[Path] = []
        labels: list[int] = []
        for folder in sorted(root.iterdir()) if root is not None else ():
            label = self._label_of(folder)
            if label is not None and folder.is_dir():
                found = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
                self.paths += found
                labels += [label] * len(found)
        self.labels = np.array(labels, dtype=np.int64)

    def _label_of(self, folder: Path) -> int | None:
        if folder.name.startswith(".") or folder.name == _BACKGROUND:
            return None
        name = folder.name if folder.name in self.classes else UNKNOWN
        return self.classes.index(name) if name in self.classes else None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        """Return a clip: float32 waveform in [-1, 1] at 16 kHz, shape [n_samples], and its class number."""
        return np.clip(read_wav(self.paths[index]), -1.0, 1.0), int(self.labels[index])

    def one_of_each(self, words: Iterable[str], seed: int = 0) -> list[int]:
        """Return the index of one clip of each word that there is, drawn from a seed."""
        draw = np.random.default_rng(seed)
        classes = [self.classes.index(word) for word in words if word in self.classes]
        of_word = (np.flatnonzero(self.labels == label) for label in classes)
        return [int(draw.choice(indices)) for indices in of_word if len(indices)]


def reachable_clips(
    cards: Mapping[str, Mapping[str, Any]], classes: Sequence[str], test_data: str | None = None
) -> ClipFolder:
    """Open the test clips that this machine can read; none of them is a normal answer.

    Args:
        cards: the shard cards; their `test_dir` is tried if nothing else is given.
        classes: class names in the order of their numbers.
        test_data: folder of the test archive, instead of what the cards say.

    Raises:
        ValueError: `test_data` names no folder.
    """
    if test_data is not None:
        folder = Path(os.path.expanduser(test_data))
        if not folder.is_dir():
            raise ValueError(
                f"test_data is {test_data!r}, no folder here; legal: a test archive's folder, None"
            )
        return ClipFolder(folder, classes)
    named = (card.get("test_dir") for card in cards.values())
    found = (Path(folder) for folder in named if folder and os.path.isdir(folder))
    return ClipFolder(next(found, None), classes)


def players(clips: Iterable[tuple[str, np.ndarray]]) -> HTML:
    """Return audio players side by side.

    Args:
        clips: caption and float32 waveform in [-1, 1] at 16 kHz, for each.
    """
    cells = "".join(
        f'<figure style="margin:0 12px 10px 0"><figcaption>{html.escape(caption)}</figcaption>'
        f'<audio controls style="width:205px" src="{_wav_url(waveform)}"></audio></figure>'
        for caption, waveform in clips
    )
    return HTML(f'<div style="display:flex;flex-wrap:wrap">{cells}</div>')


def _wav_url(waveform: np.ndarray) -> str:
    """Return a URL that has the clip in it, at its own loudness."""
    wav = io.BytesIO()
    soundfile.write(wav, waveform, SAMPLING_RATE, format="WAV", subtype="PCM_16")
    return str(Audio(data=wav.getvalue(), rate=SAMPLING_RATE).src_attr())
