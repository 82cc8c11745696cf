"""Updates in files until all are there; median and trimmed mean by hand, with one collaborator's garbage."""

import tracemalloc
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from superb_ks.aggregator.strategies.median import MedianAggregation
from superb_ks.aggregator.strategies.stored_updates import StoredUpdates
from superb_ks.aggregator.strategies.trimmed_mean import count_trimmed, trimmed_mean
from superb_ks.aggregator.strategies.updates import UpdateRefused
from superb_ks.strategy_settings import FedMedian

MEDIAN = MedianAggregation(FedMedian(), None).combine  # without an experiment
TRIM_ONE = partial(trimmed_mean, fraction=0.2)


@pytest.fixture
def stored(tmp_path: Path):
    def make(names, size: int, combine=TRIM_ONE, **others) -> StoredUpdates:
        return StoredUpdates(names, size, folder=tmp_path / "updates", combine=combine, **others)

    return make


def vector(*values: float) -> np.ndarray:
    return np.asarray(values, np.float32)


def combined(updates: StoredUpdates, **sent: tuple[float, ...]) -> list[float]:
    for clips, (name, values) in enumerate(sent.items(), start=1):
        updates.add(name, 1000**clips, vector(*values))
    return updates.result().tolist()


def test_median_of_three_by_hand_whatever_the_clips(stored):
    assert combined(stored("abc", 3, MEDIAN), a=(1, 9, -4), b=(5, 2, 4), c=(2, 4, 0)) == [2, 4, 0]


def test_median_of_two_and_of_four_is_the_middle_pairs_mean(stored):
    assert combined(stored("ab", 2, MEDIAN), a=(1, 8), b=(5, -2)) == [3, 3]
    assert combined(stored("abcd", 1, MEDIAN), a=(1,), b=(7,), c=(3,), d=(100,)) == [5]


def test_trimmed_mean_of_five_by_hand(stored):
    updates = stored("abcde", 2, partial(trimmed_mean, fraction=0.25))  # floor(1.25): one at each end
    sent = {"a": (1, 0), "b": (2, 10), "c": (6, 20), "d": (7, 60), "e": (90, -7)}
    assert combined(updates, **sent) == [5, 10]  # (2 + 6 + 7) / 3, (0 + 10 + 20) / 3


@pytest.mark.parametrize("garbage", [1e12, -1e12, 0.0])
@pytest.mark.parametrize("combine", [MEDIAN, TRIM_ONE])
@pytest.mark.parametrize("who", "abcd")
def test_garbage_of_one_of_four_stays_among_what_the_others_sent(stored, garbage, combine, who):
    sent = {name: (1.0 + rank / 10,) for rank, name in enumerate("abcd")}
    honest = [values[0] for name, values in sent.items() if name != who]
    result = combined(stored("abcd", 1, combine), **{**sent, who: (garbage,)})
    assert min(honest) - 1e-6 <= result[0] <= max(honest) + 1e-6


def test_equal_updates_are_their_own_median_and_trimmed_mean(stored):
    sent = dict.fromkeys("abcd", (0.1, -7.3, 1e-20))
    expected = vector(*sent["a"]).tolist()
    assert combined(stored("abcd", 3, MEDIAN), **sent) == expected
    assert combined(stored("abcd", 3), **sent) == expected


def test_nothing_trimmed_is_the_unweighted_mean(stored):
    draw = np.random.default_rng(2).standard_normal((4, 9)).astype(np.float32)
    sent = {name: tuple(values) for name, values in zip("abcd", draw, strict=True)}
    result = combined(stored("abcd", 9, partial(trimmed_mean, fraction=0)), **sent)
    np.testing.assert_array_equal(result, draw.mean(axis=0, dtype=np.float64).astype(np.float32))


@pytest.mark.parametrize(
    ("fraction", "counts"),
    [
        (0.0, {1: 0, 2: 0, 3: 0, 10: 0}),
        (0.2, {1: 0, 2: 0, 3: 1, 4: 1, 9: 1, 10: 2}),
        (0.01, {2: 0, 3: 1, 50: 1, 300: 3}),
        (0.49, {1: 0, 2: 0, 3: 1, 4: 1, 5: 2, 101: 49}),
    ],
)
def test_how_many_are_trimmed(fraction, counts):
    assert {n: count_trimmed(n, fraction) for n in counts} == counts


@pytest.mark.parametrize("combine", [MEDIAN, TRIM_ONE])
def test_blocks_of_many_updates_are_combined_to_the_last_element(stored, combine):
    draw = np.random.default_rng(0).standard_normal((3, 2**19 + 5)).astype(np.float32)  # two blocks
    updates = stored("abc", draw.shape[1], combine)
    for name, update in zip("cab", draw, strict=True):
        updates.add(name, 1, update.copy())
    np.testing.assert_array_equal(updates.result(), np.median(draw, axis=0))


def test_files_are_gone_after_the_result_and_before_the_next_round(stored, tmp_path):
    updates = stored("ab", 1)
    updates.add("b", 1, vector(1))
    assert [path.name for path in (tmp_path / "updates").iterdir()] == ["1.float32"]
    again = stored("ab", 1)  # the round was given up
    assert not (tmp_path / "updates").exists()
    assert combined(again, a=(3,), b=(5,)) == [4]
    assert not (tmp_path / "updates").exists()


def test_any_name_makes_a_file_of_its_own(stored, tmp_path):
    names = ["../a", "b/c", "A", "a"]
    assert combined(stored(names, 1), **dict.fromkeys(names, (3,))) == [3]
    assert list(tmp_path.iterdir()) == []


def test_who_is_left_out_does_not_count_even_after_it_arrived(stored):
    updates = stored("abc", 1, MEDIAN)
    updates.add("b", 1, vector(100))
    updates.skip("b")
    updates.skip("c")
    updates.add("a", 1, vector(2))
    assert updates.result().tolist() == [2]


@pytest.mark.parametrize(
    ("name", "clips", "update", "reason"),
    [
        ("a", 1, vector(1, 2, 3), "a sent 3 values, the model has 2"),
        ("a", 1, vector(1, float("nan")), "a sent 1 values that are not finite"),
        ("a", 0, vector(1, 2), "a trained on 0 clips"),
        ("z", 1, vector(1, 2), "z has no turn in this round; waiting for a, b"),
    ],
)
def test_a_refused_update_is_not_stored(stored, name, clips, update, reason):
    updates = stored("ab", 2)
    with pytest.raises(UpdateRefused, match=reason):
        updates.add(name, clips, update)
    updates.skip("a")
    assert combined(updates, b=(1, 2)) == [1, 2]


def test_no_result_before_all_are_there_and_none_of_nothing(stored):
    updates = stored("ab", 1)
    with pytest.raises(UpdateRefused, match="waiting for a, b"):
        updates.result()
    updates.skip("a")
    updates.skip("b")
    with pytest.raises(UpdateRefused, match="no collaborator sent an update"):
        updates.result()


def test_memory_does_not_grow_with_the_collaborators(stored):
    size = 2**22
    names = [f"env_{number}" for number in range(8)]
    spare: list[np.ndarray] = []
    updates = stored(names, size, MEDIAN, recycle=spare.append)
    tracemalloc.start()
    try:
        for number, name in enumerate(names):
            assert (updates.turns, updates.models_held) == ((), min(number, 1))
            update = spare.pop() if spare else np.empty(size, np.float32)
            update.fill(number)
            updates.add(name, 1, update)
            del update
        assert (updates.result() == 3.5).all()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2.5 * 4 * size + 2**24, f"{peak / (4 * size):.2f} models"
