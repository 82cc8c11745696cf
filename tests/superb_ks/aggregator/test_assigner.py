"""The schedule of rounds as OpenFL asks for it."""

from __future__ import annotations

import pytest

from superb_ks.aggregator.assigner import ScheduledAssigner


def test_the_same_tasks_for_everyone_by_the_functions_of_the_notebook():
    tasks = ScheduledAssigner(2).tasks_of(["b", "a"], round_number=0)
    assert set(tasks) == {"a", "b"}
    assert [(t.function_name, t.task_type) for t in tasks["a"]] == [
        ("validate", "validate"),
        ("test", "validate"),
        ("train", "train"),
    ]


def drawn(schedule: ScheduledAssigner, names: str, number: int) -> str:
    tasks = schedule.tasks_of(list(names), number)
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
    schedule = ScheduledAssigner(3, fraction, seed=1)
    for number in range(3):
        assert len(drawn(schedule, names, number)) == count
        for tasks in schedule.tasks_of(list(names), number).values():
            assert tasks[0].name == "validate"
    assert drawn(schedule, names, 3) == ""


def test_who_trains_follows_from_the_seed_and_the_round_not_from_the_order_of_names():
    schedule = ScheduledAssigner(20, 0.5, seed=4)
    rounds = [drawn(schedule, "abcd", number) for number in range(20)]
    assert rounds == [drawn(ScheduledAssigner(20, 0.5, seed=4), "dbca", number) for number in range(20)]
    assert rounds != [drawn(ScheduledAssigner(20, 0.5, seed=5), "abcd", number) for number in range(20)]
    assert set("".join(rounds)) == set("abcd"), "somebody never trains"
    assert len(set(rounds)) > 3, "always the same"
