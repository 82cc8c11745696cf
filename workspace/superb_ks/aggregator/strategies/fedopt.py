"""An optimizer on the director: the average change of a round is the gradient of one step.

Reddi et al., "Adaptive Federated Optimization", ICLR 2021, algorithm 2. With the weights `x` that the round
started from, their change `d = average - x`, and the moments `m = 0` and `v = tau**2` before the first
round::

    m = beta1 * m + (1 - beta1) * d
    v = beta2 * v + (1 - beta2) * d**2  # FedAdam
    v = v - (1 - beta2) * d**2 * sign(v - d**2)  # FedYogi
    x = x + learning_rate * m / (sqrt(v) + tau)

OpenFL 1.7.1 has both as aggregation functions. What had to be corrected, at their plug points:

- `AggregationFunction` is a singleton: a second experiment in one director would get the first one's
  learning rate and moments. Here each optimizer is an instance of its own.
- `NumPyAdam` corrects the bias of its moments by `1 - beta**t`, which the algorithm does not: from a
  `v` of 0, the first step would move every weight by the whole learning rate, whatever its change. The
  count of steps is set to infinity, where the correction is 1.
- Its `initial_accumulator_value` starts `m` as well as `v`. The moments are put in from outside.
- `YogiAdaptiveAggregation` cannot be made: it passes `epsilo` to `NumPyYogi`, a TypeError. Its base
  class can.
- `NumPyYogi` computes `beta2 * v + (1 - beta2) * d**2 * sign(d**2 - v)`, which shrinks `v` in every
  round; Yogi's point is that `v` changes by no more than `d**2`. The moment's formula is replaced.
- Moments live in memory only. Here they are in a file beside the model, so that a resumed experiment goes on
  with them, and all is computed block by block: in memory are the average and a few blocks.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from openfl.interface.aggregation_functions import AdamAdaptiveAggregation, WeightedAverage
from openfl.interface.aggregation_functions.core import AdaptiveAggregation
from openfl.utilities import LocalTensor
from openfl.utilities.optimizers.numpy import NumPyYogi

from superb_ks.aggregator.model_file import ModelFile, replacing, safetensors_header
from superb_ks.transport.messages import PART_BYTES, TRAINED, count_parts
from superb_ks.types import Vector

FIRST, SECOND = "first_moment", "second_moment"
"""Names of the two vectors in a file of moments: `-m`, because OpenFL counts gradients, and `v`."""

_BLOCK = PART_BYTES // 4


class ServerOptimizer:
    """Steps from a round's start by its average change.

    Args:
        aggregation: OpenFL's adaptive aggregation, with the optimizer that steps.
        tau: how adaptive it is: the smaller, the less a step depends on the size of the change.
    """

    def __init__(self, aggregation: AdaptiveAggregation, tau: float) -> None:
        self._aggregation = aggregation
        self._first_second_moment = np.float32(tau) ** 2

    def step(self, average: Vector, start: ModelFile, moments: Path | None, new_moments: Path) -> Vector:
        """Turn the round's average into the next model, in place, and publish the moments.

        Args:
            average: of the new weights, float32 `[size]`; taken over.
            start: the model that the round started from.
            moments: what the last step left; None before the first.
            new_moments: receives the moments for the next step, atomically.

        Raises:
            OSError: the disk is full.
        """
        size = average.size
        old = (ModelFile(moments, FIRST), ModelFile(moments, SECOND)) if moments else None
        header = safetensors_header([FIRST, SECOND], size, {})
        with replacing(new_moments) as file:
            file.write(header)
            for number in range(count_parts(size)):
                block = average[number * _BLOCK : (number + 1) * _BLOCK]
                base = np.frombuffer(start.part(number), np.float32)
                if old is None:
                    first, second = np.zeros_like(base), np.full_like(base, self._first_second_moment)
                else:
                    first, second = (np.frombuffer(moment.part(number), np.float32) for moment in old)
                block[...], *new = self._step(base, block, first, second)
                for at, moment in enumerate(new):
                    file.seek(len(header) + 4 * (at * size + number * _BLOCK))
                    file.write(np.ascontiguousarray(moment).data)
        return average

    def _step(self, base: Vector, average: Vector, first: Vector, second: Vector) -> tuple[Vector, ...]:
        """Return weights, first and second moment after a step from `base`, all of one block's shape."""
        optimizer = self._aggregation.optimizer
        optimizer.params = {TRAINED: base.copy()}
        optimizer.grads_first_moment, optimizer.grads_second_moment = {TRAINED: first}, {TRAINED: second}
        optimizer.current_step = {TRAINED: math.inf}
        # OpenFL's gradient is base minus average, and its step goes against it: the same as the paper's
        # signs.
        history = [{"tensor_name": TRAINED, "round": 0, "tags": ("model",), "nparray": base}]
        weights = self._aggregation([LocalTensor("average", average, 1.0)], history, TRAINED, 0, ("model",))
        return weights, optimizer.grads_first_moment[TRAINED], optimizer.grads_second_moment[TRAINED]


def fedadam(learning_rate: float, beta1: float, beta2: float, tau: float) -> ServerOptimizer:
    """Return the optimizer of FedAdam."""
    # Past the singleton, whose first instance would keep its parameters for the life of the process.
    aggregation = type.__call__(
        AdamAdaptiveAggregation,
        params={TRAINED: np.zeros(0, np.float32)},
        learning_rate=learning_rate,
        betas=(beta1, beta2),
        epsilon=tau,
    )
    return ServerOptimizer(aggregation, tau)


def fedyogi(learning_rate: float, beta1: float, beta2: float, tau: float) -> ServerOptimizer:
    """Return the optimizer of FedYogi."""
    optimizer = _Yogi(
        params={TRAINED: np.zeros(0, np.float32)},
        learning_rate=learning_rate,
        betas=(beta1, beta2),
        epsilon=tau,
    )
    aggregation = type.__call__(AdaptiveAggregation, optimizer, WeightedAverage())
    return ServerOptimizer(aggregation, tau)


class _Yogi(NumPyYogi):
    """OpenFL's Yogi with the second moment of the paper."""

    def _update_second_moment(self, grad_name: str, grad: Any) -> None:
        second, square = self.grads_second_moment[grad_name], grad**2
        change = (1.0 - self.beta_2) * square * np.sign(second - square)
        self.grads_second_moment[grad_name] = second - change
