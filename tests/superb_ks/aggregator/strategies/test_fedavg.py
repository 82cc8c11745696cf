"""Federated averaging against numbers worked out by hand, in every order of arrival."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from superb_ks.aggregator.strategies.fedavg import FederatedAverage
from superb_ks.aggregator.strategies.updates import UpdateRefused


def vector(*values: float) -> np.ndarray:
    return np.asarray(values, np.float32)


def test_two_unequal_collaborators_by_hand():
    average = FederatedAverage(["one", "two"], 3)
    average.add("one", 10, vector(1, 0, -4))
    average.add("two", 30, vector(5, 8, 4))
    # (10 · 1 + 30 · 5) / 40 = 4, (0 + 240) / 40 = 6, (-40 + 120) / 40 = 2
    assert average.result().tolist() == [4, 6, 2]


def test_three_unequal_collaborators_by_hand():
    average = FederatedAverage(["a", "b", "c"], 2)
    for name, clips, update in (("a", 1, (12, 0)), ("b", 2, (0, 6)), ("c", 3, (4, 2))):
        average.add(name, clips, vector(*update))
    # (1 · 12 + 2 · 0 + 3 · 4) / 6 = 4, (0 + 12 + 6) / 6 = 3
    assert average.result().tolist() == [4, 3]


def test_who_is_left_out_weighs_nothing():
    average = FederatedAverage(["a", "b", "c"], 1)
    average.add("a", 1, vector(3))
    average.add("c", 2, vector(9))
    average.skip("b")
    assert average.result().tolist() == [7]  # (1 · 3 + 2 · 9) / 3


def test_left_out_after_arriving_is_forgotten():
    average = FederatedAverage(["a", "b"], 1)
    average.add("b", 5, vector(100))
    average.skip("b")
    average.add("a", 1, vector(2))
    assert average.result().tolist() == [2]


def test_bit_identical_whatever_the_order_of_arrival():
    draw = np.random.default_rng(0)
    updates = {f"env_{number}": draw.standard_normal(1000).astype(np.float32) for number in range(4)}
    results = set()
    for order in permutations(updates):
        average = FederatedAverage(updates, 1000)
        for name in order:
            average.add(name, 7 + len(name), updates[name].copy())
        results.add(average.result().tobytes())
    assert len(results) == 1


@given(
    clips=st.lists(st.integers(1, 10_000), min_size=1, max_size=6),
    size=st.integers(1, 50),
    seed=st.integers(0, 2**32 - 1),
)
def test_is_the_weighted_mean(clips, size, seed):
    updates = np.random.default_rng(seed).standard_normal((len(clips), size)).astype(np.float32)
    average = FederatedAverage([f"{number:02}" for number in range(len(clips))], size)
    for number, (count, update) in enumerate(zip(clips, updates, strict=True)):
        average.add(f"{number:02}", count, update.copy())
    expected = np.average(updates.astype(np.float64), axis=0, weights=clips)
    np.testing.assert_allclose(average.result(), expected, rtol=1e-4, atol=1e-5)


def test_blocks_are_added_to_the_last_element():
    size = 2**18 * 2 + 3  # more than two blocks
    average = FederatedAverage(["a", "b"], size)
    average.add("a", 1, np.zeros(size, np.float32))
    average.add("b", 1, np.full(size, 2, np.float32))
    assert (average.result() == 1).all()


@pytest.mark.parametrize(
    ("name", "clips", "update", "reason"),
    [
        ("a", 1, vector(1, 2, 3), "a sent 3 values, the model has 2"),
        ("a", 1, np.ones((1, 2), np.float32), "the model has 2"),
        ("a", 1, vector(1, float("nan")), "a sent 1 values that are not finite"),
        ("a", 1, vector(float("inf"), float("-inf")), "a sent 2 values that are not finite"),
        ("a", 1, vector(1, 3e38), r"a sent 1 values beyond 1e\+12"),
        ("a", 1, vector(-3e38, 2e12), r"a sent 2 values beyond 1e\+12"),
        ("a", 0, vector(1, 2), "a trained on 0 clips"),
        ("z", 1, vector(1, 2), "z has no turn in this round; waiting for a, b"),
    ],
)
def test_a_refused_update_leaves_the_sum_untouched(name, clips, update, reason):
    average = FederatedAverage(["a", "b"], 2)
    with pytest.raises(UpdateRefused, match=reason):
        average.add(name, clips, update)
    average.skip("a")
    average.add("b", 4, vector(1, 2))
    assert average.result().tolist() == [1, 2]


def test_of_the_largest_weights_and_any_number_of_clips_the_average_is_finite():
    average = FederatedAverage(["a", "b"], 2)
    for name in ("a", "b"):
        average.add(name, 2**31 - 1, vector(1e12, -1e12))
    assert average.result().tolist() == pytest.approx([1e12, -1e12])


def test_no_second_update_of_the_same_collaborator():
    average = FederatedAverage(["a", "b"], 1)
    average.add("a", 1, vector(1))
    with pytest.raises(UpdateRefused, match="a has no turn"):
        average.add("a", 1, vector(50))


def test_no_result_before_all_turns_and_none_of_nothing():
    average = FederatedAverage(["a", "b"], 1)
    with pytest.raises(UpdateRefused, match="waiting for a, b"):
        average.result()
    average.skip("a")
    average.skip("b")
    with pytest.raises(UpdateRefused, match="no collaborator sent an update"):
        average.result()


def test_agrees_with_openfls_own_weighted_average():
    from openfl.interface.aggregation_functions import WeightedAverage
    from openfl.utilities import LocalTensor

    updates = np.random.default_rng(3).standard_normal((3, 100)).astype(np.float32)
    average = FederatedAverage("abc", 100)
    for name, clips, update in zip("abc", (5, 1, 30), updates, strict=True):
        average.add(name, clips, update.copy())
    locals_ = [LocalTensor(n, u, c / 36) for n, c, u in zip("abc", (5, 1, 30), updates, strict=True)]
    expected = WeightedAverage()(locals_, iter(()), "trained", 0, ())
    np.testing.assert_allclose(average.result(), expected, rtol=1e-5, atol=1e-6)


def test_counts_the_models_in_memory():
    average = FederatedAverage(["a", "b", "c"], 1)
    assert (average.turns, average.models_held) == (["a", "b", "c"], 0)
    average.add("c", 1, vector(1))
    assert (average.turns, average.models_held) == (["a", "b", "c"], 1)
    average.add("a", 1, vector(1))
    assert (average.turns, average.models_held) == (["b", "c"], 2)  # the sum, and c's update
    average.add("b", 1, vector(1))
    assert (average.turns, average.models_held) == ([], 1)
