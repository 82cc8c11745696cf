"""Updates in 16 bits: rounding as PyTorch rounds, and errors that are late instead of lost."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from superb_ks.transport.bfloat16 import UpdateEncoder, from_bfloat16, to_bfloat16

FLOATS = arrays.arrays(np.float32, st.integers(1, 50), elements=st.floats(width=32))


@given(FLOATS)
def test_rounds_as_pytorch_does(values: np.ndarray) -> None:
    expected = torch.from_numpy(values).to(torch.bfloat16).float().numpy()
    decoded = np.empty_like(values)
    from_bfloat16(to_bfloat16(values), decoded)
    np.testing.assert_array_equal(decoded, expected)


def test_what_rounding_takes_away_is_sent_later() -> None:
    rng = np.random.default_rng(0)
    start = rng.standard_normal(300_000).astype(np.float32)
    change = (1e-3 * rng.standard_normal(start.size)).astype(np.float32)
    encoder, received = UpdateEncoder(start.size), np.zeros_like(start)
    decoded = np.empty_like(start)
    for _ in range(8):
        from_bfloat16(encoder.encode(change.copy()), decoded)
        received += decoded
    # Without feedback the error of eight rounds would be eight times that of one.
    one_rounding = np.abs(change).max() * 2.0**-8
    assert np.abs(received - 8 * change).max() < 1.5 * one_rounding
    assert np.abs(received - 8 * change).max() > 0


def test_new_weights_are_within_a_thousandth() -> None:
    rng = np.random.default_rng(1)
    start = rng.standard_normal(100_000).astype(np.float32)
    weights = start + (0.05 * rng.standard_normal(start.size)).astype(np.float32)
    decoded = np.empty_like(start)
    from_bfloat16(UpdateEncoder(start.size).encode(weights - start), decoded)
    error = np.linalg.norm(start + decoded - weights) / np.linalg.norm(weights)
    assert 0 < error < 1e-3
