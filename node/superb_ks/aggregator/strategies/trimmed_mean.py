"""The trimmed mean: `x[i]` is the mean of the `w_k[i]` without the smallest and the largest of them.

Yin et al., "Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates", 2018, definition 2.
Every collaborator counts the same.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from superb_ks.aggregator.strategies.stored_updates import StoringAggregation
from superb_ks.strategy_settings import TrimmedMean
from superb_ks.types import Vector


def count_trimmed(n: int, fraction: float) -> int:
    """Return how many of `n` values go at each end: `floor(fraction * n)`; at least one value is left.

    So that a few collaborators are protected as well, at least one goes at each end if any are to go and
    there are three or more.
    """
    least = 1 if fraction > 0 and n >= 3 else 0
    return max(least, math.floor(fraction * n))


def trimmed_mean(values: NDArray[np.float32], fraction: float) -> Vector:
    """Return the mean of each column of float32 `[n, elements]`, sorted in place, without its ends."""
    trimmed = count_trimmed(len(values), fraction)
    if trimmed:
        values.sort(axis=0)
    # In float64, because the sum of untrimmed float32 values can overflow.
    mean = values[trimmed : len(values) - trimmed].mean(axis=0, dtype=np.float64)
    return mean.astype(np.float32)


class TrimmedMeanAggregation(StoringAggregation):
    """The coordinate-wise trimmed mean."""

    settings: TrimmedMean

    def combine(self, values: NDArray[np.float32]) -> Vector:
        """Return the trimmed mean of each column."""
        return trimmed_mean(values, self.settings.fraction)
