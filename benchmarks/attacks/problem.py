"""A learning problem that five envoys solve in milliseconds: softmax regression on clusters."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from superb_ks.types import Vector

ENVOYS, CLASSES, FEATURES = 5, 5, 20
SIZE = CLASSES * (FEATURES + 1)
TEST_CLIPS = 2000
# Of the envoys, in turn: unequal, so that a mean by clips differs from one by heads.
CLIPS = (80, 120, 100, 140, 60)
STEPS, LEARNING_RATE = 10, 0.5
# Distance of the classes, and of what each envoy adds to all of its clips, as a speaker or a microphone does.
SPREAD, OWN_OFFSET = 0.7, 0.3

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


class Problem:
    """The clips of five envoys and a common test set, drawn from `seed`; a start of zeros."""

    def __init__(self, seed: int) -> None:
        self._draw = np.random.default_rng(seed)
        self._centres = SPREAD * self._draw.standard_normal((CLASSES, FEATURES))
        self._shards = [
            self._clips(count, OWN_OFFSET * self._draw.standard_normal(FEATURES)) for count in CLIPS
        ]
        self._test = self._clips(TEST_CLIPS, np.zeros(FEATURES))

    def _clips(self, count: int, offset: Floats) -> tuple[Floats, Labels]:
        labels = self._draw.integers(0, CLASSES, count)
        features = self._centres[labels] + offset + self._draw.standard_normal((count, FEATURES))
        return np.hstack([features, np.ones((count, 1))]), labels

    def train(self, envoy: int, start: Vector, mu: float) -> Vector:
        """Return the weights after an honest round of envoy `envoy` (from 0), float32 `[SIZE]`.

        Args:
            envoy: whose clips.
            start: the round's model.
            mu: weight of FedProx's term; 0 without.
        """
        features, labels = self._shards[envoy]
        begin = start.astype(np.float64).reshape(-1, CLASSES)
        weights = begin.copy()
        for _ in range(STEPS):
            error = _softmax(features @ weights) - np.eye(CLASSES)[labels]
            weights -= LEARNING_RATE * (features.T @ error / len(labels) + mu * (weights - begin))
        return weights.astype(np.float32).ravel()

    def accuracy(self, weights: Vector) -> float:
        """Return the share of the test clips that `weights`, float32 `[SIZE]`, get right."""
        features, labels = self._test
        scores = features @ weights.astype(np.float64).reshape(-1, CLASSES)
        return float((scores.argmax(axis=1) == labels).mean())


def _softmax(scores: Floats) -> Floats:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: Floats = powers / powers.sum(axis=1, keepdims=True)
    return shares
