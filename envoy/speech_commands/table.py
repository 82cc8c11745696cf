"""Where the clips of a split are: a table with a column for each fact, nothing decoded."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from .audio import AudioFile, decode


@dataclass(frozen=True, eq=False)
class ClipTable:
    """One row a clip, in an order that every machine agrees on; every column has the shape [n].

    Attributes:
        keys: str, where the clip is below its root (`yes/0a7c2a8d_nohash_0.wav`).
        labels: int, label id.
        speakers: str, eight hex digits, or "" where nobody is known to speak.
        rates: int, Hz.
        starts: int, first frame of the clip in its file (0 but for crops).
        frames: int, length of the clip at its own rate.

    """

    keys: NDArray[np.str_]
    labels: NDArray[np.int64]
    speakers: NDArray[np.str_]
    rates: NDArray[np.int64]
    starts: NDArray[np.int64]
    frames: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, rows: NDArray) -> ClipTable:
        """Return the rows that an index or boolean array picks."""
        return ClipTable(*(getattr(self, column.name)[rows] for column in fields(self)))

    def __add__(self, other: ClipTable) -> ClipTable:
        pairs = ((getattr(self, c.name), getattr(other, c.name)) for c in fields(self))
        return ClipTable(*(np.concatenate(pair) for pair in pairs))

    def names(self) -> list[str]:
        """Return a name for each clip that tells crops of one file apart."""
        return [f"{key}@{start}" for key, start in zip(self.keys, self.starts, strict=True)]

    @property
    def seconds(self) -> float:
        """Length of all clips together in seconds."""
        return float((self.frames / self.rates).sum())


@dataclass(frozen=True, eq=False)
class Split:
    """A table and the means to open what its keys name."""

    table: ClipTable
    open: Callable[[str], AudioFile]
    root: str

    def __len__(self) -> int:
        return len(self.table)

    def take(self, rows: NDArray) -> Split:
        """Return the split restricted to some rows."""
        return Split(self.table.take(rows), self.open, self.root)

    def read(self, index: int) -> tuple[NDArray[np.float32], int]:
        """Decode one clip.

        Returns:
            waveform in [-1, 1] at 16 kHz, float32, shape [n_samples], and the label id.

        """
        table = self.table
        key = str(table.keys[index])
        waveform = decode(
            self.open(key), self.name(key), start=int(table.starts[index]), frames=int(table.frames[index])
        )
        return waveform, int(table.labels[index])

    def name(self, key: str) -> str:
        """Return what messages call the clip `key`."""
        return os.path.join(self.root, key)
