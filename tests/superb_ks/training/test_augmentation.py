"""Takes of a clip: what is drawn stays in its range, and the clip itself stays as it is."""

from dataclasses import replace

import numpy as np
import pytest

from superb_ks.recipe import RECIPES
from superb_ks.training.augmentation import Augmentation, change_speed, shift

RAMP = np.arange(1, 10, dtype=np.float32)


def test_double_speed_takes_every_second_sample_and_half_speed_the_means():
    ramp = np.arange(9, dtype=np.float32)
    assert change_speed(ramp, 2.0).tolist() == [0, 2, 4, 6]
    assert change_speed(ramp, 0.5).tolist() == [i / 2 for i in range(16)]
    assert change_speed(ramp, 2.0).dtype == np.float32


def test_speeds_are_drawn_from_the_given_range():
    augmentation = Augmentation(seed=1, speed_change=0.2)
    lengths = [len(augmentation(np.zeros(8_000, np.float32))) for _ in range(200)]
    assert 8_000 / 1.2 - 1 <= min(lengths) < 6_800
    assert 9_800 < max(lengths) <= 8_000 / 0.8 + 1
    assert len(Augmentation(seed=1)(np.zeros(8_000, np.float32))) == 8_000


def test_a_shift_moves_the_clip_and_mirrors_its_edge_into_the_gap():
    assert shift(RAMP, 3).tolist() == [4, 3, 2, 1, 2, 3, 4, 5, 6]
    assert shift(RAMP, -3).tolist() == [4, 5, 6, 7, 8, 9, 8, 7, 6]
    assert shift(RAMP, 0).tolist() == RAMP.tolist()
    assert shift(RAMP, 99).tolist() == RAMP[::-1].tolist() == shift(RAMP, -99).tolist()
    assert shift(RAMP[:1], 5).tolist() == [1]


def test_shifts_go_both_ways_up_to_the_given_seconds():
    impulse = np.zeros(16_000, np.float32)
    impulse[8_000] = 1
    augmentation = Augmentation(seed=2, shift_seconds=0.1)
    moved = [int(augmentation(impulse).argmax()) - 8_000 for _ in range(300)]
    assert -1_600 <= min(moved) < -1_500 and 1_500 < max(moved) <= 1_600


def test_the_same_seed_gives_the_same_takes_and_the_global_generator_stays(global_seeds_untouched):
    recipe = replace(RECIPES["tiny"], shift_seconds=0.1)
    clip = np.random.default_rng(0).standard_normal(12_000).astype(np.float32)

    def takes(seed):
        augmentation = Augmentation.of(recipe, seed)
        return [augmentation(clip) for _ in range(3)]

    for one, same in zip(takes(5), takes(5), strict=True):
        assert np.array_equal(one, same)
    assert not any(np.array_equal(a, b) for a, b in zip(takes(5), takes(6), strict=True))


@pytest.mark.parametrize("length", [1, 2, 40_000])
def test_clips_of_any_length_come_out_with_at_most_a_second(length):
    augmentation = Augmentation(0, speed_change=0.0, shift_seconds=0.5)
    assert len(augmentation(np.ones(length, np.float32))) == min(length, 16_000)
