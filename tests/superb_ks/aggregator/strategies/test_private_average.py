"""The private average: clipping and noise by hand, its sensitivity, and what it is without either."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superb_ks.aggregator.model_file import ModelFile, write_model
from superb_ks.aggregator.strategies.fedavg import FederatedAverage
from superb_ks.aggregator.strategies.private_average import PrivateAverage, clip
from superb_ks.aggregator.strategies.updates import UpdateRefused

FINITE = st.floats(-1e4, 1e4, width=32)
SIZE = 5
CHANGE = st.lists(FINITE, min_size=SIZE, max_size=SIZE)


def vector(*values: float) -> np.ndarray:
    return np.asarray(values, np.float32)


def no_noise(count: int) -> np.ndarray:
    return np.zeros(count)


def average(names, size: int = 2, **changes) -> PrivateAverage:
    chosen = {"start": None, "clip_norm": 5.0, "noise_multiplier": 1.0, "noise": no_noise, **changes}
    return PrivateAverage(names, size, **chosen)


def mean_of(changes: dict[str, tuple], drawn: str = "", **chosen) -> np.ndarray:
    private = average(sorted(drawn or changes), len(next(iter(changes.values()))), **chosen)
    for name in sorted(drawn or changes):
        if name in changes:
            private.add(name, 7, vector(*changes[name]))
        else:
            private.skip(name)
    return private.result()


def test_two_collaborators_by_hand():
    """A change of length 10 is halved to 5, one of length 5 is left; clips do not count."""
    private = average("ab")
    private.add("a", 1, vector(6, 8))
    private.add("b", 1000, vector(-3, 4))
    np.testing.assert_allclose(private.result(), [(3 - 3) / 2, (4 + 4) / 2], atol=1e-6)
    assert private.clipped == 1


def test_three_collaborators_that_send_weights_by_hand(tmp_path: Path):
    """From 1 and 2: changes (30, 40) of length 50, clipped to (3, 4), and (0, -5) and (3, 0), left alone."""
    write_model(tmp_path / "start.safetensors", vector(1, 2))
    private = average("abc", start=ModelFile(tmp_path / "start.safetensors"))
    for name, clips, weights in (("c", 9, (4, 2)), ("a", 1, (31, 42)), ("b", 5, (1, -3))):
        private.add(name, clips, vector(*weights))
    np.testing.assert_allclose(private.result(), [(3 + 0 + 3) / 3, (4 - 5 + 0) / 3], atol=1e-6)


def test_noise_by_hand():
    """It is scaled by z · C / n = 0.5 · 5 / 2."""
    private = average("ab", noise_multiplier=0.5, noise=lambda count: np.arange(1.0, 1 + count))
    private.add("a", 1, vector(1, 2))
    private.add("b", 1, vector(3, 0))
    assert private.result().tolist() == [2 + 1.25 * 1, 1 + 1.25 * 2]


def test_who_drops_out_counts_as_no_change():
    """The denominator is the number that was drawn; a mean over those left would give the others more."""
    assert mean_of({"a": (3, 4)}, drawn="abcd").tolist() == [0.75, 1.0]


def test_noise_does_not_grow_when_somebody_drops_out():
    kept = mean_of({"a": (0, 0)}, drawn="ab", noise=np.ones)
    assert kept.tolist() == [2.5, 2.5]


@settings(deadline=None)
@given(others=st.lists(CHANGE, max_size=3), one=CHANGE, other=CHANGE, clip_norm=st.floats(1e-2, 1e4))
def test_the_sensitivity(others, one, other, clip_norm):
    """Without a collaborator's update the average moves by C / n at most, with another by twice that.

    The tolerance is for the sum, which is rounded to float32.
    """
    rest = {f"b{number}": tuple(change) for number, change in enumerate(others)}
    names = ["a", *rest]

    def mean(change) -> np.ndarray:
        private = average(names, SIZE, clip_norm=clip_norm)
        for name, sent in rest.items():
            private.add(name, 1, vector(*sent))
        if change is None:
            private.skip("a")
            if not rest:
                return np.zeros(SIZE)
        else:
            private.add("a", 1, vector(*change))
        return private.result().astype(np.float64)

    bound = clip_norm / len(names) * (1 + 1e-6)
    assert np.linalg.norm(mean(one) - mean(None)) <= bound
    assert np.linalg.norm(mean(one) - mean([0] * SIZE)) <= bound
    assert np.linalg.norm(mean(one) - mean(other)) <= 2 * bound


def test_the_sensitivity_is_reached():
    """The bound is no looser than it must be: a huge change and its opposite are exactly 2 C / n apart."""
    one, other = (mean_of({"a": (sign * 1e12, 0), "b": (1, 1)}) for sign in (1, -1))
    np.testing.assert_allclose(one - other, [2 * 5 / 2, 0], atol=1e-6)


@settings(deadline=None)
@given(
    change=st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=20),
    clip_norm=st.floats(1e-6, 1e6),
)
def test_no_clipped_change_is_longer_than_the_norm(change, clip_norm):
    clipped = vector(*change)
    was_longer = clip(clipped, clip_norm)
    assert np.linalg.norm(clipped.astype(np.float64)) <= clip_norm
    if was_longer:
        direction = np.asarray(vector(*change), np.float64)
        expected = direction / np.linalg.norm(direction) * clip_norm
        np.testing.assert_allclose(clipped, expected, rtol=1e-6, atol=1e-36)
    else:
        assert clipped.tolist() == vector(*change).tolist()


def test_the_norm_is_taken_over_all_blocks():
    change = np.ones(2**18 + 3, np.float32)
    assert clip(change, 1.0)
    np.testing.assert_allclose(np.linalg.norm(change.astype(np.float64)), 1.0, rtol=1e-6)
    assert change.min() == change.max()


@settings(deadline=None)
@given(changes=st.lists(CHANGE, min_size=1, max_size=5))
def test_without_noise_and_clipping_it_is_the_uniform_average(changes):
    names = [f"{number}" for number in range(len(changes))]
    private = average(names, SIZE, clip_norm=1e30, noise_multiplier=0.0)
    uniform = FederatedAverage(names, SIZE)
    for name, change in zip(names, changes, strict=True):
        private.add(name, 99, vector(*change))
        uniform.add(name, 1, vector(*change))
    assert np.array_equal(private.result(), uniform.result())


def test_the_noise_has_the_announced_deviation_and_is_new_in_each_round():
    size = 300_000  # more than two blocks
    rounds = []
    for _ in range(2):
        private = PrivateAverage("abcd", size, start=None, clip_norm=3.0, noise_multiplier=0.8)
        for name in "abcd":
            private.add(name, 1, np.zeros(size, np.float32))
        rounds.append(private.result().astype(np.float64))
    for noise in rounds:
        assert abs(noise.std() / (0.8 * 3.0 / 4) - 1) < 6 / (2 * size) ** 0.5
        assert abs(noise.mean()) < 6 * 0.6 / size**0.5
    assert abs(np.corrcoef(rounds[0], rounds[1])[0, 1]) < 6 / size**0.5
    blocks = rounds[0][: 2**17], rounds[0][2**17 : 2**18]
    assert abs(np.corrcoef(*blocks)[0, 1]) < 6 / 2**8.5


def test_bit_identical_but_for_the_noise_whatever_the_order_of_arrival():
    updates = {name: tuple(np.random.default_rng(ord(name)).standard_normal(2)) for name in "abc"}
    results = set()
    for order in permutations(updates):
        private = average("abc", clip_norm=0.5)
        for name in order:
            private.add(name, 1, vector(*updates[name]))
        results.add(private.result().tobytes())
    assert len(results) == 1


@pytest.mark.parametrize(
    ("update", "reason"),
    [
        ((1, 2, 3), "a sent 3 values, the model has 2"),
        ((float("nan"), 0), "a sent 1 values that are not finite"),
        ((3e38, 0), r"a sent 1 values beyond 1e\+12"),
    ],
)
def test_a_refused_update_leaves_the_sum_untouched(tmp_path, update, reason):
    write_model(tmp_path / "start.safetensors", vector(-1e12, 0))
    private = average("ab", start=ModelFile(tmp_path / "start.safetensors"))
    with pytest.raises(UpdateRefused, match=reason):
        private.add("a", 1, vector(*update))
    private.skip("a")
    private.add("b", 1, vector(-1e12, 4))
    assert private.result().tolist() == [0, 2]
    assert private.clipped == 0


def test_memory_is_the_sum_and_one_update():
    returned: list[np.ndarray] = []
    private = average("abc", recycle=returned.append)
    for name in "abc":
        private.add(name, 1, vector(1, 1))
        assert private.models_held == 1
    assert len(returned) == 2
