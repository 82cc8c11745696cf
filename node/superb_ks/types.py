"""Types that all of the package shares."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]
"""A model's trainable weights, one after the other: float32 `[size]`."""
