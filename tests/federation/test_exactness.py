"""Federated averaging is exact: one step on full batches is the step of one computer with all data."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tests.support.lab import Lab
from tests.support.sine_descriptor import SineShardDescriptor
from tests.support.sine_experiment import LABELS, LEARNING_RATE, SAMPLES, Script, spectrum

pytestmark = pytest.mark.federation

ROUNDS = 3


def centralised(steps: int) -> np.ndarray:
    """Train on the pooled clips of both shards, without any code of the federation; returns the weights."""
    shards = [SineShardDescriptor(f"{rank}, 2").get_dataset("train") for rank in (1, 2)]
    features = spectrum(np.concatenate([shard.waves for shard in shards]))
    labels = torch.from_numpy(np.concatenate([shard.labels for shard in shards]))
    model = nn.Linear(SAMPLES, LABELS)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(features), labels).backward()
        optimizer.step()
    return torch.cat([model.weight.flatten(), model.bias]).detach().numpy()


def test_unequal_envoys_make_the_steps_of_one_pooled_batch(lab: Lab) -> None:
    outcome = lab.run(Script(steps=1), rounds=ROUNDS)  # 12 and 24 clips
    expected = centralised(ROUNDS)
    assert outcome.weights is not None
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(outcome.weights[: expected.size], expected, rtol=0, atol=1e-6)
