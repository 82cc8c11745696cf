"""FedAdam and FedYogi: an optimizer on the director, to which a round's average change is a gradient.

Reddi et al., "Adaptive Federated Optimization", ICLR 2021, algorithm 2. With the weights `x` that the round
started from, their change `d = average - x`, and the moments `m = 0` and `v = tau**2` before the first
round::

    m = beta1 * m + (1 - beta1) * d
    v = beta2 * v + (1 - beta2) * d**2  # FedAdam
    v = v - (1 - beta2) * d**2 * sign(v - d**2)  # FedYogi: after a large change, v shrinks slowly
    x = x + learning_rate * m / (sqrt(v) + tau)

In memory: as FedAvg, and a few blocks. On disk: the moments, twice the model's bytes, in a file next to the
model, so that a resumed experiment goes on with them.
"""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path

import numpy as np

from superb_ks.aggregator.model_file import ModelFile, replacing, require_finite, safetensors_header
from superb_ks.aggregator.strategies.fedavg import FedAvgAggregation
from superb_ks.strategy_settings import Adaptive
from superb_ks.transport.parts import PART_BYTES, count_parts
from superb_ks.types import Vector

FIRST, SECOND = "m", "v"
"""Names of the two vectors in a file of moments."""

_BLOCK = PART_BYTES // 4


class AdaptiveAggregation(FedAvgAggregation):
    """The mean of the updates, then a step of an optimizer towards it."""

    settings: Adaptive

    @abstractmethod
    def second_moment(self, v: Vector, square: Vector) -> Vector:
        """Return `v` after a round whose squared change is `square`, both of one block's shape."""

    def next_model(self, combined: Vector, next_round: int) -> Vector:
        """Step from the round's start; the moments count from the moment that the model is published."""
        name = self.settings.name
        moments = self.state.folder / f"round-{next_round}.moments.safetensors"
        model = self.step(combined, self.state.last, self.state.moments(name), moments)
        self.state.mark_moments(name, moments)
        return model

    def step(self, average: Vector, start: ModelFile, moments: Path | None, new_moments: Path) -> Vector:
        """Turn the round's average into the next model, in place, and publish the moments.

        Args:
            average: of the new weights, float32 `[size]`; taken over.
            start: the model that the round started from.
            moments: what the last step left; None before the first.
            new_moments: receives the moments for the next step, atomically.

        Raises:
            ValueError: a moment is not finite; no moments were published.
            OSError: the disk is full.
        """
        size = average.size
        old = (ModelFile(moments, FIRST), ModelFile(moments, SECOND)) if moments else None
        header = safetensors_header(size, (FIRST, SECOND))
        # Absurd parameters overflow; what comes of it is found before it is published.
        with np.errstate(all="ignore"), replacing(new_moments) as file:
            file.write(header)
            for number in range(count_parts(size)):
                block = average[number * _BLOCK : (number + 1) * _BLOCK]
                base = np.frombuffer(start.part(number), np.float32)
                if old is None:
                    m, v = np.zeros_like(base), np.full_like(base, np.float32(self.settings.tau) ** 2)
                else:
                    m, v = (np.frombuffer(moment.part(number), np.float32) for moment in old)
                block[...], *new = self._step(base, block, m, v)
                for at, moment in enumerate(new):
                    require_finite(moment, new_moments.name)
                    file.seek(len(header) + 4 * (at * size + number * _BLOCK))
                    file.write(moment.data)
        return average

    def _step(self, base: Vector, average: Vector, m: Vector, v: Vector) -> tuple[Vector, Vector, Vector]:
        """Return weights, first and second moment after a step from `base`, all of one block's shape."""
        its, change = self.settings, average - base
        m = its.beta1 * m + (1 - its.beta1) * change
        v = self.second_moment(v, change**2)
        step: Vector = its.learning_rate * m
        step /= np.sqrt(v) + its.tau
        return base + step, m, v


class FedAdamAggregation(AdaptiveAggregation):
    """The second moment is a running mean of squared changes."""

    def second_moment(self, v: Vector, square: Vector) -> Vector:
        """Return Adam's `v`."""
        return self.settings.beta2 * v + (1 - self.settings.beta2) * square


class FedYogiAggregation(AdaptiveAggregation):
    """The second moment moves by no more than the squared change."""

    def second_moment(self, v: Vector, square: Vector) -> Vector:
        """Return Yogi's `v`."""
        return v - (1 - self.settings.beta2) * square * np.sign(v - square)
