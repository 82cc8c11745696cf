"""Updates in 16 bits: the change since the round's start as bfloat16, with the rounding error fed back.

A change is much smaller than the weight it changes, so rounding the change to bfloat16's eight bits of
precision moves the new weight by a tiny fraction of itself. What rounding took away is kept and added to
the next round's change (Seide et al., "1-bit stochastic gradient descent", 2014), so that it is late
instead of lost.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from superb_ks.types import Vector

Bfloat16Vector = NDArray[np.uint16]

# Elements that are converted at a time; they stay in the processor's cache between the steps.
_BLOCK = 2**17


def to_bfloat16(values: Vector) -> Bfloat16Vector:
    """Round float32 values to bfloat16, to nearest, ties to even; NaN stays NaN. Shape is kept."""
    bits = values.view(np.uint32)
    rounded = ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)
    rounded[np.isnan(values)] = 0x7FC0
    return rounded


def from_bfloat16(values: Bfloat16Vector, out: Vector) -> None:
    """Write bfloat16 values, exactly, to float32 `out` of the same shape."""
    bits = out.view(np.uint32)
    bits[...] = values
    bits <<= 16


class UpdateEncoder:
    """Turns one collaborator's changes into 16 bits, round after round, in memory that it keeps.

    Args:
        size: elements of the model.
    """

    def __init__(self, size: int) -> None:
        self._lost: Vector = np.zeros(size, np.float32)
        self._encoded: Bfloat16Vector = np.empty(size, np.uint16)

    def encode(self, change: Vector) -> Bfloat16Vector:
        """Return the change of a round as bfloat16 `[size]`, valid until the next call.

        Args:
            change: from the weights that the round started from to those that training arrived at, float32
                `[size]`; taken over.
        """
        sent = np.empty(_BLOCK, np.float32)
        for at in range(0, change.size, _BLOCK):
            exact, lost = change[at : at + _BLOCK], self._lost[at : at + _BLOCK]
            exact += lost
            self._encoded[at : at + _BLOCK] = to_bfloat16(exact)
            rounded = sent[: exact.size]
            from_bfloat16(self._encoded[at : at + _BLOCK], rounded)
            np.subtract(exact, rounded, out=lost)
        return self._encoded
