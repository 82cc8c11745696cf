"""Noise from the system's generator: its distribution, and that no two draws share anything."""

import numpy as np
import pytest
from scipy import stats

from superb_ks.aggregator.strategies.gaussian_noise import secure_standard_normal

COUNT = 200_000


def test_it_is_standard_normal():
    """Each bound is missed once in ten million runs or less."""
    drawn = secure_standard_normal(COUNT)
    assert drawn.dtype == np.float64
    assert abs(drawn.mean()) < 6 / COUNT**0.5
    assert abs(drawn.std() - 1) < 6 / (2 * COUNT) ** 0.5
    assert stats.kstest(drawn, "norm").pvalue > 1e-7


def test_the_halves_of_a_pair_and_two_draws_are_independent():
    first, second = secure_standard_normal(COUNT), secure_standard_normal(COUNT)
    for a, b in ((first, second), (first[: COUNT // 2], first[COUNT // 2 :]), (first[:-1], first[1:])):
        for power in (1, 2):  # a pair shares its radius: squares would correlate if the angle were wrong
            assert abs(np.corrcoef(a**power, b**power)[0, 1]) < 6 / len(a) ** 0.5


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_as_many_as_are_asked_for(count):
    assert secure_standard_normal(count).shape == (count,)


def test_no_seed_makes_it_repeat():
    np.random.seed(0)  # the global generator has no part in it
    first = secure_standard_normal(4)
    np.random.seed(0)
    assert not np.array_equal(first, secure_standard_normal(4))


def test_the_extremes_of_the_bits_are_finite(monkeypatch):
    for byte in (b"\x00", b"\xff"):
        monkeypatch.setattr("os.urandom", lambda count, byte=byte: byte * count)
        assert np.isfinite(secure_standard_normal(2)).all()
