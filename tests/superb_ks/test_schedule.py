"""Every aggregate is validated, the last one too, and the best one tested."""

import pytest

from superb_ks.schedule import RoundSchedule


def names(schedule: RoundSchedule) -> list[list[str]]:
    return [[task.name for task in schedule.tasks(number)] for number in range(schedule.total_rounds)]


def test_three_rounds():
    assert names(RoundSchedule(3)) == [
        ["validate", "test_initial", "train"],
        ["validate", "train"],
        ["validate", "train"],
        ["validate"],
        ["test_best"],
    ]


def test_an_experiment_that_personalises_has_a_round_more():
    schedule = RoundSchedule(2, personalise=True)
    assert names(schedule)[2:] == [["validate"], ["test_best"], ["personalise"]]
    assert [schedule.is_personal(number) for number in range(5)] == [False] * 4 + [True]
    assert not RoundSchedule(2).is_personal(4)


@pytest.mark.parametrize("rounds", [1, 2, 10])
def test_every_training_is_followed_by_a_validation(rounds):
    plan = names(RoundSchedule(rounds))
    assert sum("train" in tasks for tasks in plan) == rounds
    for number, tasks in enumerate(plan):
        if "train" in tasks:
            assert plan[number + 1][0] == "validate"


def test_no_rounding_error_draws_one_too_many():
    assert 0.07 * 100 > 7
    assert len(RoundSchedule(1, 0.07).trainers(map(str, range(100)), 0)) == 7


@pytest.mark.parametrize("fraction", [0, -0.5, 1.1, float("nan")])
def test_another_fraction_is_refused(fraction):
    with pytest.raises(ValueError, match=r"fraction is .*; it must be in \(0, 1\]"):
        RoundSchedule(2, fraction)


def test_no_rounds_are_refused():
    with pytest.raises(ValueError, match="training_rounds is 0; it must be at least 1"):
        RoundSchedule(0)
