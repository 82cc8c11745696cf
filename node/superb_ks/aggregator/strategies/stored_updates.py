"""Updates that wait in files until all of a round are there, for strategies that need them at once.

A weighted mean follows its largest term, so a single collaborator that sends garbage ruins it. The
coordinate-wise median and trimmed mean do not, but need all updates of a round at once. These wait in files,
and are combined block by block, so that memory does not grow with the number of collaborators.
"""

from __future__ import annotations

import shutil
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from superb_ks.aggregator.strategies.updates import Aggregation, Recycle, UpdateRefused, require_usable
from superb_ks.types import Vector

Combine = Callable[[NDArray[np.float32]], Vector]
"""Combines a block of all updates, float32 `[updates, elements]`, which it may change, to `[elements]`."""

# Elements of all updates together that are combined at a time: 4 MiB of float32.
_ELEMENTS = 2**20


class StoringAggregation(Aggregation):
    """Combines all updates of a round coordinate by coordinate; `settings` are those of the strategy.

    In memory: one vector for the result and one update. On disk: all updates of the round.
    """

    @abstractmethod
    def combine(self, values: NDArray[np.float32]) -> Vector:
        """Combine a block of all updates, float32 `[updates, elements]`, to float32 `[elements]`."""

    def collect(self, names: Iterable[str], size: int, recycle: Recycle) -> StoredUpdates:
        """Return what keeps the updates of `names`, float32 `[size]` each, until all are there."""
        return StoredUpdates(names, size, recycle, folder=self.state.updates_folder, combine=self.combine)


class StoredUpdates:
    """One round's updates in files, combined coordinate by coordinate once all are there.

    In memory are one vector of the model's size, which receives the result, and the update that is being
    received. The number of clips does not count: a collaborator could claim any.

    Args:
        names: the collaborators that may report in this round.
        size: number of float32 elements in every update.
        recycle: gets each array that is not needed any more.
        folder: receives the files, in the order of the names; what is in it is removed.
        combine: is called for one block of all updates at a time.

    Attributes:
        turns: empty, since files can be written in any order.
    """

    turns: Sequence[str] = ()

    def __init__(
        self,
        names: Iterable[str],
        size: int,
        recycle: Recycle = lambda _: None,
        *,
        folder: Path,
        combine: Combine,
    ) -> None:
        self.size = size
        self._recycle = recycle
        self._combine = combine
        self._folder = folder
        self._awaited = set(names)
        # A collaborator's name need not be a legal file name; its rank among the names is.
        self._files = {name: folder / f"{rank}.float32" for rank, name in enumerate(sorted(self._awaited))}
        self._stored: set[str] = set()
        self._result: Vector | None = None
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
        if self._result is None:
            self._result = update
        else:
            self._recycle(update)

    @property
    def models_held(self) -> int:
        """Vectors of the model's size in memory: the result."""
        return int(self._result is not None)

    def skip(self, name: str) -> None:
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
        if not self._stored or self._result is None:
            raise UpdateRefused("no collaborator sent an update that could be averaged")
        step = max(1, _ELEMENTS // len(self._stored))
        for start in range(0, self.size, step):
            self._result[start : start + step] = self._combined(start, min(step, self.size - start))
        shutil.rmtree(self._folder)
        return self._result

    def _combined(self, start: int, count: int) -> Vector:
        values = np.empty((len(self._stored), count), np.float32)
        for row, name in zip(values, sorted(self._stored), strict=True):
            # Read instead of mapped: the pages of a map would count as the director's memory.
            row[...] = np.fromfile(self._files[name], np.float32, count, offset=4 * start)
        return self._combine(values)
