"""The coordinate-wise median: `x[i]` is the median of all `w_k[i]`, every collaborator counting the same.

Yin et al., "Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates", 2018, definition 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from superb_ks.aggregator.strategies.stored_updates import StoringAggregation
from superb_ks.types import Vector


class MedianAggregation(StoringAggregation):
    """The coordinate-wise median."""

    def combine(self, values: NDArray[np.float32]) -> Vector:
        """Return the median of each column; of an even number of updates, the middle pair's mean."""
        middle: Vector = np.median(values, axis=0, overwrite_input=True)
        return middle
