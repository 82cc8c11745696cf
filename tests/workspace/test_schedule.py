"""Every aggregate is validated, the last one too, and the best one tested."""

import pickle

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


@pytest.mark.parametrize("rounds", [1, 2, 10])
def test_every_training_is_followed_by_a_validation(rounds):
    plan = names(RoundSchedule(rounds))
    assert sum("train" in tasks for tasks in plan) == rounds
    for number, tasks in enumerate(plan):
        if "train" in tasks:
            assert plan[number + 1][0] == "validate"


def test_the_same_tasks_for_everyone_by_the_functions_of_the_notebook():
    tasks = RoundSchedule(2)(["b", "a"], round_number=0, unused=1)
    assert set(tasks) == {"a", "b"}
    assert [(t.function_name, t.task_type) for t in tasks["a"]] == [
        ("validate", "validate"),
        ("test", "validate"),
        ("train", "train"),
    ]


def test_travels_as_a_pickle():
    assert pickle.loads(pickle.dumps(RoundSchedule(4))) == RoundSchedule(4)


def test_no_rounds_are_refused():
    with pytest.raises(ValueError, match="training_rounds is 0; it must be at least 1"):
        RoundSchedule(0)
