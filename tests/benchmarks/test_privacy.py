"""The simulated crowd averages as the director does."""

import numpy as np

from benchmarks.privacy import _private_mean

CHANGES = [np.asarray(values, np.float32) for values in ((3, 4), (0, -2))]


def test_copies_of_the_shards_make_the_same_mean():
    for envoys in (2, 20):
        mean = _private_mean(CHANGES, envoys, 5.0, 0.0)
        np.testing.assert_allclose(mean, [1.5, 1.0], rtol=1e-6)
    assert CHANGES[0].tolist() == [3, 4], "the changes are used again"


def test_a_larger_crowd_shares_the_noise():
    changes = [np.zeros(100_000, np.float32)] * 2
    for envoys in (2, 20):
        mean = _private_mean(changes, envoys, 5.0, 2.0).astype(np.float64)
        assert abs(mean.std() / (2.0 * 5.0 / envoys) - 1) < 0.02
