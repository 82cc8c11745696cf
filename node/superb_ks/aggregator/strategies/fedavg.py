"""Federated averaging of packed weight vectors: `x = sum_k (n_k / n) w_k`.

McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data", 2017,
algorithm 1, with `n_k` the number of clips of collaborator `k`. In memory: the sum and one update.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from superb_ks.aggregator.strategies.updates import Aggregation, Recycle, UpdateRefused, require_usable
from superb_ks.types import Vector

# Elements that are scaled and added at a time: 1 MiB of float32 stays in the processor's cache, and no
# second vector of the model's size is needed for the product.
_BLOCK = 2**18


class FedAvgAggregation(Aggregation):
    """The mean of the updates, weighted by clips."""

    def collect(self, names: Iterable[str], size: int, recycle: Recycle) -> FederatedAverage:
        """Return what averages the updates of `names`, float32 `[size]` each, while they arrive."""
        return FederatedAverage(names, size, recycle)


class FederatedAverage:
    """Weighted mean of one round's updates, built while they arrive.

    Floating-point sums depend on their order. The order here is that of the sorted names, whatever
    the order of arrival: an update that arrives before its turn is kept, one whose turn it is goes straight
    into the sum. The result is therefore the same, bit for bit, in every run.

    Args:
        names: the collaborators that may report in this round.
        size: number of float32 elements in every update.
        recycle: gets each array that is not needed any more.

    Attributes:
        turns: those whose updates are not in the sum yet, sorted.
    """

    def __init__(self, names: Iterable[str], size: int, recycle: Recycle = lambda _: None) -> None:
        self.size = size
        self._recycle = recycle
        self.turns = sorted(names)
        self._waiting: dict[str, tuple[int, Vector]] = {}
        self._total: Vector | None = None
        self._clips = 0

    def add(self, name: str, clips: int, update: Vector) -> None:
        """Take in the update that `name` trained on `clips` clips; the array is taken over and changed.

        Raises:
            UpdateRefused: another length, a value that is not finite, or no clips. Nothing was added.
        """
        require_usable(name, clips, update, self.size)
        if name not in self.turns:
            raise UpdateRefused(f"{name} has no turn in this round; waiting for {', '.join(self.turns)}")
        self._waiting[name] = (clips, update)
        self._take_turns()

    @property
    def models_held(self) -> int:
        """Vectors of the model's size in memory: the sum, and the updates that arrived before their turn."""
        return len(self._waiting) + (self._total is not None)

    def skip(self, name: str) -> None:
        """Go on without `name`: it dropped out or its update was refused."""
        if name in self.turns:
            self.turns.remove(name)
            self._waiting.pop(name, None)
            self._take_turns()

    def result(self) -> Vector:
        """Return the weighted mean of what was added, shape `[size]`.

        Raises:
            UpdateRefused: nothing was added, or somebody's turn is still open.
        """
        total = self._complete_sum()
        total /= np.float32(self._clips)
        return total

    def _complete_sum(self) -> Vector:
        if self.turns:
            raise UpdateRefused(f"the round is still waiting for {', '.join(self.turns)}")
        if self._total is None:
            raise UpdateRefused("no collaborator sent an update that could be averaged")
        return self._total

    def _take_turns(self) -> None:
        while self.turns and self.turns[0] in self._waiting:
            clips, update = self._waiting.pop(self.turns.pop(0))
            self._clips += clips
            if self._total is None:
                update *= np.float32(clips)
                self._total = update
            else:
                _add_scaled(self._total, update, np.float32(clips))
                self._recycle(update)


def _add_scaled(total: Vector, update: Vector, weight: np.float32) -> None:
    """Add `weight * update` to `total`, in place."""
    for start in range(0, update.size, _BLOCK):
        block = slice(start, start + _BLOCK)
        total[block] += update[block] * weight
