"""What every strategy has: how it takes in the updates of a round, and what it makes of them.

In the formulas of this package, `w_k` are the weights that collaborator `k` arrived at in the round, `n_k`
the clips it trained on, `n` their sum, and `x` the weights that the round started from.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from superb_ks.aggregator.checkpoint import ExperimentState
from superb_ks.types import Vector

Recycle = Callable[[Vector], None]
"""Gets an array that is not needed any more."""

MAX_WEIGHT = 1e12
"""Largest weight, up or down, that is let in. No trained model has one; their sum over all collaborators,
weighted by any number of clips, is finite in float32, and so is the square of their changes.
"""


class UpdateRefused(ValueError):
    """An update that cannot be averaged; the message names who sent it and what is wrong with it."""


class Updates(Protocol):
    """One round's updates, taken in while they arrive: what a strategy collects them with."""

    @property
    def turns(self) -> Sequence[str]:
        """Whose updates are still to come, in the order of their sum; empty if any order will do."""

    @property
    def models_held(self) -> int:
        """Vectors of the model's size in memory."""

    def add(self, name: str, clips: int, update: Vector) -> None:
        """Take in an update, or raise `UpdateRefused`."""

    def skip(self, name: str) -> None:
        """Go on without `name`."""

    def result(self) -> Vector:
        """Combine what was added into one vector, or raise `UpdateRefused`; called once."""


def require_usable(name: str, clips: int, update: Vector, size: int) -> None:
    """Check what `name` trained on `clips` clips against a model of `size` elements.

    Raises:
        UpdateRefused: another length, a value that is not finite or beyond `MAX_WEIGHT`, or no clips.
    """
    if update.shape != (size,):
        raise UpdateRefused(f"{name} sent {update.size} values, the model has {size}")
    if clips < 1:
        raise UpdateRefused(f"{name} trained on {clips} clips; an update needs at least 1")
    if not (np.min(update) >= -MAX_WEIGHT and np.max(update) <= MAX_WEIGHT):  # a NaN is both, and false
        if bad := int(update.size - np.isfinite(update).sum()):
            raise UpdateRefused(f"{name} sent {bad} values that are not finite (NaN or infinity)")
        large = int((np.abs(update) > MAX_WEIGHT).sum())
        raise UpdateRefused(f"{name} sent {large} values beyond {MAX_WEIGHT:g}")


class Aggregation(ABC):
    """One strategy at work in one experiment.

    Args:
        settings: the strategy's, with its parameters (`superb_ks.strategy_settings`).
        state: the experiment's, on disk.
    """

    def __init__(self, settings: Any, state: ExperimentState) -> None:
        self.settings = settings
        self.state = state

    @abstractmethod
    def collect(self, names: Iterable[str], size: int, recycle: Recycle) -> Updates:
        """Return what takes in the updates of `names`, float32 `[size]` each, in one round."""

    def next_model(self, combined: Vector, next_round: int) -> Vector:
        """Return the model that `next_round` starts from; `combined` is taken over."""
        return combined
