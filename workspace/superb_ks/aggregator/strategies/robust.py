"""Robust aggregation: combinations of a round's updates that one collaborator cannot drag where it likes.

A weighted mean follows its largest term, so a single collaborator that sends garbage ruins it. The
coordinate-wise median and trimmed mean (Yin et al., "Byzantine-Robust Distributed Learning: Towards Optimal
Statistical Rates", 2018, definitions 1 and 2) do not, but need all updates of a round at once. These wait in
files, and are combined block by block, so that memory does not grow with the number of collaborators.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from openfl.utilities import LocalTensor

from superb_ks.aggregator.strategies.fedavg import UpdateRefused, require_usable
from superb_ks.transport.messages import TRAINED
from superb_ks.types import Vector

# Elements of all updates together that are combined at a time: 4 MiB of float32.
_ELEMENTS = 2**20


class StoredUpdates:
    """One round's updates in files, combined coordinate by coordinate once all are there.

    In memory are one vector of the model's size, which receives the result, and the update that is being
    received. The number of clips does not count: a collaborator could claim any.

    Args:
        names: the collaborators that may report in this round.
        size: number of float32 elements in every update.
        recycle: gets each array that is not needed any more.
        folder: receives the files, in the order of the names; what is in it is removed.
        combine: an OpenFL aggregation function, called for one block of all updates at a time.
    """

    def __init__(
        self,
        names: Iterable[str],
        size: int,
        recycle: Callable[[Vector], None] = lambda _: None,
        *,
        folder: Path,
        combine: Callable[..., Any],
    ) -> None:
        self.size = size
        self._recycle = recycle
        self._combine = combine
        self._folder = folder
        self._awaited = set(names)
        # A collaborator's name need not be a legal file name; its rank among the names is.
        self._files = {name: folder / f"{rank}.float32" for rank, name in enumerate(sorted(self._awaited))}
        self._stored: set[str] = set()
        self._room: Vector | None = None
        shutil.rmtree(folder, ignore_errors=True)

    def add(self, name: str, clips: int, update: Vector) -> None:
        """Take in the update that `name` trained on `clips` clips; the array is taken over.

        Raises:
            UpdateRefused: another length, a value that is not finite, or no clips. Nothing was added.
            OSError: the disk is full.
        """
        require_usable(name, clips, update, self.size)
        if name not in self._awaited:
            waiting = ", ".join(sorted(self._awaited))
            raise UpdateRefused(f"{name} has no turn in this round; waiting for {waiting}")
        self._folder.mkdir(exist_ok=True)
        self._files[name].write_bytes(update.data)
        self._awaited.remove(name)
        self._stored.add(name)
        if self._room is None:
            self._room = update
        else:
            self._recycle(update)

    @property
    def turn(self) -> None:
        """Nobody's: files can be written in any order."""
        return None

    @property
    def turn_after(self) -> None:
        """Nobody's either."""
        return None

    @property
    def models_held(self) -> int:
        """Vectors of the model's size in memory: the room for the result."""
        return int(self._room is not None)

    def leave_out(self, name: str) -> None:
        """Go on without `name`: it dropped out or its update was refused."""
        self._awaited.discard(name)
        self._stored.discard(name)

    def result(self) -> Vector:
        """Return the combination of what was added, shape `[size]`, and remove the files.

        Raises:
            UpdateRefused: nothing was added, or somebody's update is still awaited.
        """
        if self._awaited:
            raise UpdateRefused(f"the round is still waiting for {', '.join(sorted(self._awaited))}")
        if not self._stored or self._room is None:
            raise UpdateRefused("no collaborator sent an update that could be averaged")
        step = max(1, _ELEMENTS // len(self._stored))
        for start in range(0, self.size, step):
            self._room[start : start + step] = self._combined(start, min(step, self.size - start))
        shutil.rmtree(self._folder)
        return self._room

    def _combined(self, start: int, count: int) -> Vector:
        # Read instead of mapped: the pages of a map would count as the director's memory.
        tensors = [
            LocalTensor(name, np.fromfile(self._files[name], np.float32, count, offset=4 * start), 1.0)
            for name in sorted(self._stored)
        ]
        combined: Vector = self._combine(tensors, iter(()), TRAINED, 0, ())
        return combined


class TrimmedMean:
    """The mean of each coordinate without its smallest and its largest values; OpenFL has none.

    Of `n` values, `floor(trim_fraction * n)` go at each end. So that a few collaborators are protected as
    well, at least one goes at each end if any are to go and there are three or more. The rest is averaged
    without weights.

    Args:
        trim_fraction: share that goes at each end, in [0, 0.5).

    Raises:
        ValueError: another share.
    """

    def __init__(self, trim_fraction: float) -> None:
        if not 0 <= trim_fraction < 0.5:
            raise ValueError(f"trim_fraction is {trim_fraction}; legal: in [0, 0.5)")
        self.trim_fraction = trim_fraction

    def trimmed(self, n: int) -> int:
        """Return how many of `n` values go at each end; at least one value is left."""
        least = 1 if self.trim_fraction > 0 and n >= 3 else 0
        return max(least, math.floor(self.trim_fraction * n))

    def __call__(self, local_tensors: list[Any], *_: Any) -> Vector:
        """Combine tensors of one shape, called as OpenFL calls its aggregation functions."""
        values = np.stack([local.tensor for local in local_tensors])
        gone = self.trimmed(len(values))
        if gone:
            values.sort(axis=0)
        # In float64, because the sum of untrimmed float32 values can overflow.
        mean = values[gone : len(values) - gone].mean(axis=0, dtype=np.float64)
        return mean.astype(np.float32)
