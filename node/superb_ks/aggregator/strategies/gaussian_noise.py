"""Gaussian noise that nobody can compute again."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Noise = Callable[[int], NDArray[np.float64]]
"""Returns this many independent numbers of a standard normal distribution."""


def secure_standard_normal(count: int) -> NDArray[np.float64]:
    """Draw from a standard normal distribution with the bits of the operating system's generator.

    Box and Muller, "A Note on the Generation of Random Normal Deviates", 1958. Noise protects only those who
    cannot subtract it: an experiment's seed is known to every node, and the state of numpy's generators can
    be worked out from what they have drawn. The system's generator is made for secrets, and has no seed.

    Args:
        count: how many.

    Returns:
        float64 `[count]`.
    """
    pairs = -(-count // 2)
    bits = np.frombuffer(os.urandom(16 * pairs), np.uint64).reshape(2, pairs) >> np.uint64(11)
    # 53 bits each: the first in (0, 1], whose logarithm is finite, the second an angle in [0, 2 pi).
    radius = np.sqrt(-2.0 * np.log((bits[0] + 1.0) * 2.0**-53))
    angle = bits[1] * (2.0 * np.pi * 2.0**-53)
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]
