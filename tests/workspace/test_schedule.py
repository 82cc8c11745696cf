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


def drawn(schedule: RoundSchedule, names: str, number: int) -> str:
    tasks = schedule(list(names), number)
    return "".join(sorted(name for name in names if any(task.name == "train" for task in tasks[name])))


@pytest.mark.parametrize(
    ("fraction", "names", "count"),
    [
        (1.0, "abcd", 4),
        (0.5, "abcd", 2),
        (0.5, "abc", 2),
        (0.26, "abcd", 2),
        (0.01, "abcd", 1),
        (0.7, "ab", 2),
    ],
)
def test_a_fraction_trains_rounded_up_and_everybody_validates(fraction, names, count):
    schedule = RoundSchedule(3, fraction, seed=1)
    for number in range(3):
        assert len(drawn(schedule, names, number)) == count
        for tasks in schedule(list(names), number).values():
            assert tasks[0].name == "validate"
    assert drawn(schedule, names, 3) == ""


def test_no_rounding_error_draws_one_too_many():
    assert 0.07 * 100 > 7
    assert len(RoundSchedule(1, 0.07).trainers(map(str, range(100)), 0)) == 7


def test_who_trains_follows_from_the_seed_and_the_round_not_from_the_order_of_names():
    schedule = RoundSchedule(20, 0.5, seed=4)
    rounds = [drawn(schedule, "abcd", number) for number in range(20)]
    assert rounds == [drawn(RoundSchedule(20, 0.5, seed=4), "dbca", number) for number in range(20)]
    assert rounds != [drawn(RoundSchedule(20, 0.5, seed=5), "abcd", number) for number in range(20)]
    assert set("".join(rounds)) == set("abcd"), "somebody never trains"
    assert len(set(rounds)) > 3, "always the same"


@pytest.mark.parametrize("fraction", [0, -0.5, 1.1, float("nan")])
def test_another_fraction_is_refused(fraction):
    with pytest.raises(ValueError, match=r"fraction is .*; it must be in \(0, 1\]"):
        RoundSchedule(2, fraction)


def test_travels_as_a_pickle():
    assert pickle.loads(pickle.dumps(RoundSchedule(4))) == RoundSchedule(4)


def test_no_rounds_are_refused():
    with pytest.raises(ValueError, match="training_rounds is 0; it must be at least 1"):
        RoundSchedule(0)
