"""Which clips an epoch of training takes: each once, or each class equally often."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler


class BalancedSampler(Sampler[int]):
    """Epochs in which every class occurs equally often, in random order; as many clips as there are.

    Not `WeightedRandomSampler`: that one draws with replacement, which leaves out a third of the clips even
    of a shard that is balanced. Here a class is gone through from end to end, in a new order each time,
    before a clip of it comes again, across epochs too; where all classes are equally large, an epoch has
    each clip once. Where the clips cannot be shared out evenly, chance says which classes get one more.
    """

    def __init__(self, labels: np.ndarray, seed: int) -> None:
        """Prepare the epochs of one training.

        Args:
            labels: label id of each clip, int, shape [n_clips]; classes without a clip are not drawn.
            seed: decides all draws of all epochs.
        """
        self._n_clips = len(labels)
        self._draw = np.random.default_rng((seed, 1))  # other numbers than the augmentation's
        self._clips_of = [
            _endless(np.flatnonzero(labels == label), self._draw) for label in np.unique(labels)
        ]

    def __len__(self) -> int:
        return self._n_clips

    def __iter__(self) -> Iterator[int]:
        """Yield the indices of one epoch."""
        n_classes = len(self._clips_of)
        turns = np.resize(self._draw.permutation(n_classes), self._n_clips)
        chosen = np.array([next(self._clips_of[turn]) for turn in turns], dtype=np.int64)
        yield from self._draw.permutation(chosen).tolist()


def _endless(indices: np.ndarray, draw: np.random.Generator) -> Iterator[int]:
    while True:
        yield from draw.permutation(indices).tolist()
