"""Epochs with evenly drawn classes, counted by hand."""

from collections import Counter

import numpy as np

from superb_ks.training.sampling import BalancedSampler

SKEWED = np.array([0] * 8 + [1] * 3 + [5])


def test_every_class_is_drawn_equally_often_and_no_clip_before_its_turn(global_seeds_untouched):
    epoch = list(BalancedSampler(SKEWED, seed=1))
    assert len(epoch) == len(BalancedSampler(SKEWED, seed=1)) == 12
    assert Counter(SKEWED[epoch].tolist()) == {0: 4, 1: 4, 5: 4}
    times = Counter(epoch)
    assert all(times[clip] <= 1 for clip in range(8)), "four of the large class, all different"
    assert sorted(times[clip] for clip in (8, 9, 10)) == [1, 1, 2]
    assert times[11] == 4


def test_over_two_epochs_a_large_class_is_gone_through_once():
    sampler = BalancedSampler(SKEWED, seed=2)
    first, second = list(sampler), list(sampler)
    assert first != second
    assert Counter(clip for clip in first + second if clip < 8) == dict.fromkeys(range(8), 1)


def test_an_epoch_of_equal_classes_has_each_clip_once():
    labels = np.arange(60) % 12
    epoch = list(BalancedSampler(labels, seed=3))
    assert sorted(epoch) == list(range(60)) and epoch != list(range(60))


def test_what_cannot_be_shared_out_goes_to_classes_by_chance():
    labels = np.array([0, 0, 1, 1, 2, 2, 2])
    favoured = set()
    for seed in range(20):
        counts = Counter(labels[list(BalancedSampler(labels, seed))].tolist())
        assert sorted(counts.values()) == [2, 2, 3]
        favoured.add(max(counts, key=lambda label: counts[label]))
    assert favoured == {0, 1, 2}


def test_the_seed_decides_all_epochs():
    def epochs(seed):
        sampler = BalancedSampler(SKEWED, seed)
        return list(sampler), list(sampler)

    assert epochs(4) == epochs(4) != epochs(5)
