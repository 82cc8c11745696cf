"""The clips of a split: a table with a column for each fact; nothing is decoded."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from superb_node.audio import AudioFile, decode, read_header
from superb_node.errors import DataError
from superb_node.labels import composed

UNMEASURED = -1  # frames of a clip whose header has not been read yet


@dataclass(frozen=True, eq=False)
class ClipTable:
    """One row for each clip, in an order that every machine agrees on; every column has the shape [n].

    Attributes:
        keys: str, where the clip is below its root (`yes/0a7c2a8d_nohash_0.wav`).
        labels: int, label id.
        speakers: str, eight hex digits, or "" if the speaker is not known.
        rates: int, Hz.
        starts: int, first frame of the clip in its file (0 except for crops).
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
        """Return the rows that an index array or a boolean array selects."""
        return ClipTable(*(getattr(self, column.name)[rows] for column in fields(self)))

    def __add__(self, other: ClipTable) -> ClipTable:
        pairs = ((getattr(self, c.name), getattr(other, c.name)) for c in fields(self))
        return ClipTable(*(np.concatenate(pair) for pair in pairs))

    def names(self) -> list[str]:
        """Return a unique name for each clip, crops of one file included; the same on all systems."""
        pairs = zip(self.keys.tolist(), self.starts.tolist(), strict=True)
        return [composed(f"{key}@{start}") for key, start in pairs]

    @property
    def seconds(self) -> float:
        """Total length of the clips in seconds."""
        return float((self.frames / self.rates).sum())


def make_table(keys: list[str], labels: list[int], speakers: list[str]) -> ClipTable:
    """Make a table of clips whose headers have not been read."""
    return ClipTable(
        keys=np.array(keys, dtype=np.str_),
        labels=np.array(labels, dtype=np.int64),
        speakers=np.array(speakers, dtype=np.str_),
        rates=np.ones(len(keys), dtype=np.int64),
        starts=np.zeros(len(keys), dtype=np.int64),
        frames=np.full(len(keys), UNMEASURED, dtype=np.int64),
    )


@dataclass(frozen=True, eq=False)
class Split:
    """A table, and how to open the files that its keys name.

    Attributes:
        table: the clips.
        open: returns the file of a key.
        root: the folder or data set that holds the keys, for messages and the shard card.
        distort: changes a waveform, given the clip's name; None: clips stay as recorded.
    """

    table: ClipTable
    open: Callable[[str], AudioFile]
    root: str
    distort: Callable[[NDArray[np.float32], str], NDArray[np.float32]] | None = None

    def __len__(self) -> int:
        return len(self.table)

    def take(self, rows: NDArray) -> Split:
        """Return the split with only some of its rows."""
        return replace(self, table=self.table.take(rows))

    def read(self, index: int) -> tuple[NDArray[np.float32], int]:
        """Decode one clip.

        Returns:
            waveform in [-1, 1] at 16 kHz, float32, shape [n_samples], and the label id.
        """
        table = self.table
        key, start, frames = str(table.keys[index]), int(table.starts[index]), int(table.frames[index])
        waveform = decode(self.open(key), self.name(key), start, frames)
        if self.distort:
            waveform = self.distort(waveform, composed(f"{key}@{start}"))
        return waveform, int(table.labels[index])

    def name(self, key: str) -> str:
        """Return what messages call the clip `key`."""
        return os.path.join(self.root, key)

    def measured(self) -> tuple[Split, list[str]]:
        """Read the headers that have not been read yet.

        Returns:
            the split without the clips that are not audio, and a line about each of those.
        """
        unknown = np.flatnonzero(self.table.frames == UNMEASURED)
        if not len(unknown):
            return self, []
        rates, frames, problems = self.table.rates.copy(), self.table.frames.copy(), []
        for row in unknown:
            key = str(self.table.keys[row])
            try:
                rates[row], frames[row], _ = read_header(self.open(key), self.name(key))
            except DataError as error:
                frames[row] = 0
                problems.append(str(error))
        table = replace(self.table, rates=rates, frames=frames)
        return replace(self, table=table.take(frames > 0)), problems


def bad_clips_error(problems: list[str]) -> DataError:
    """Return the error that names the first unusable clip and counts the others."""
    more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
    return DataError(f"{problems[0]}{more}; on_bad_clip: skip leaves such clips out")


@dataclass(frozen=True, eq=False)
class Corpus:
    """All clips of a source.

    Attributes:
        splits: "train", "val" and "test".
        recordings: the long background recordings, one row each; None if there are none.
        problems: a line about each clip that was left out because it is not audio.
        folders: names of the classes in the source.
    """

    splits: dict[str, Split]
    recordings: Split | None
    problems: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
