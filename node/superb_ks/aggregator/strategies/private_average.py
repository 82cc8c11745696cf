"""The average of one round with differential privacy for each collaborator: clipped changes, and noise.

McMahan et al., "Learning Differentially Private Recurrent Language Models", 2018, algorithm 1, with a fixed
denominator: with `d_k` the change of collaborator `k` since the round's start, `C` the clipping norm,
`z` the noise multiplier and `n` the number of collaborators that were drawn::

    (sum_k d_k * min(1, C / |d_k|)) / n + Normal(0, (z * C / n)**2) for every weight

Every update counts the same, whatever number of clips it stands for, and one that is missing counts as no
change. So what one collaborator does or does not send moves the average by `C / n` at most.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from superb_ks.aggregator.model_file import ModelFile
from superb_ks.aggregator.strategies.fedavg import FederatedAverage
from superb_ks.aggregator.strategies.gaussian_noise import Noise, secure_standard_normal
from superb_ks.aggregator.strategies.updates import Recycle, require_usable
from superb_ks.types import Vector

# Elements that are handled in float64 at a time; they stay in the processor's cache between the steps.
_BLOCK = 2**17
# Rounding a clipped change to float32 may lengthen it by this share at most.
_ROUNDING = 2.0**-23


class PrivateAverage(FederatedAverage):
    """Mean of one round's clipped changes plus noise, built while the updates arrive.

    In memory as its base class: the sum, and the updates that arrived before their turn. The order of the sum
    is fixed as there; the noise is another one every time.

    Args:
        names: the collaborators that were drawn for this round; their number is the denominator.
        size: number of float32 elements in every update.
        recycle: gets each array that is not needed any more.
        start: the model that the round started from; None: one whose weights are all 0.
        clip_norm: longest L2 norm that a change may have.
        noise_multiplier: standard deviation of the noise on the sum, in clipping norms.
        noise: draws standard normal numbers; another one than the system's is for tests alone.

    Attributes:
        clipped: how many of the changes were longer than `clip_norm`.
    """

    def __init__(
        self,
        names: Iterable[str],
        size: int,
        recycle: Recycle = lambda _: None,
        *,
        start: ModelFile | None,
        clip_norm: float,
        noise_multiplier: float,
        noise: Noise = secure_standard_normal,
    ) -> None:
        super().__init__(names, size, recycle)
        self.clipped = 0
        self._drawn = len(self.turns)
        self._start = start
        self._clip_norm = clip_norm
        self._noise_multiplier = noise_multiplier
        self._noise = noise

    def add(self, name: str, clips: int, update: Vector) -> None:
        """Take in the update of `name`, clipped; the array is taken over and changed.

        Raises:
            UpdateRefused: as `FederatedAverage.add` does. Nothing was added.
        """
        require_usable(name, clips, update, self.size)
        if self._start is not None:
            # Two finite weights may lie too far apart for float32; the base class refuses what is infinite.
            with np.errstate(over="ignore"):
                self._start.subtract_from(update)
        was_clipped = clip(update, self._clip_norm)
        super().add(name, 1, update)
        self.clipped += was_clipped

    def result(self) -> Vector:
        """Return the noisy mean change, shape `[size]`.

        Raises:
            UpdateRefused: nothing was added, or somebody's turn is still open.
        """
        total = self._complete_sum()
        scale = self._noise_multiplier * self._clip_norm / self._drawn
        for start in range(0, total.size, _BLOCK):
            block = total[start : start + _BLOCK]
            # Added in float64 and rounded once: the lowest bits of a float64 sum can betray the noise
            # (Mironov, "On Significance of the Least Significant Bits for Differential Privacy", 2012).
            block[...] = block.astype(np.float64) / self._drawn + scale * self._noise(block.size)
        return total


def clip(change: Vector, clip_norm: float) -> bool:
    """Shorten `change`, float32 `[size]`, in place to an L2 norm of `clip_norm`.

    Returns whether it was longer. A change that holds values that are not finite is left as it is.
    """
    blocks = [change[start : start + _BLOCK] for start in range(0, change.size, _BLOCK)]
    norm = float(np.sqrt(sum(float(np.square(block, dtype=np.float64).sum()) for block in blocks)))
    if not clip_norm < norm < np.inf:
        return False
    for block in blocks:
        block[...] = block.astype(np.float64) * (clip_norm / norm * (1 - _ROUNDING))
    return True
