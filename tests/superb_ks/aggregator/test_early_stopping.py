"""When training ends early: the rule itself, and what the rounds make of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from superb_ks.aggregator.aggregator import Aggregator
from superb_ks.aggregator.early_stopping import EarlyStop
from superb_ks.settings import EarlyStopping, Privacy
from superb_notebook.history import history_of
from tests.superb_ks.aggregator.test_aggregator import SIZE, texts, trainers, work
from tests.support.aggregator import aggregator_on, new_state_folder

ACCURACIES = st.lists(st.integers(0, 20).map(lambda right: right / 20), min_size=1, max_size=30)


def record(number: int, task: str, metric: str, value: float = 0.0, origin: str = "aggregator") -> dict:
    names = {"round": number, "metric_origin": origin, "task_name": task}
    return {**names, "metric_name": metric, "metric_value": value}


def validated(accuracies: list[float]) -> list[dict[str, Any]]:
    return [record(number, "validate", "accuracy", value) for number, value in enumerate(accuracies)]


def stops_in(rule: EarlyStopping, records: list[dict[str, Any]]) -> int | None:
    """Return the first round at whose end there is a reason to stop."""
    stop = EarlyStop(rule)
    for each in records:
        stop.read([each])
        if stop.reason:
            return int(each["round"])
    return None


# The rule -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "accuracies", "round_number"),
    [
        (EarlyStopping(), [0.1, 1.0, 1.0, 1.0], None),
        (EarlyStopping(target=0.9), [0.1, 0.8, 0.9, 0.7], 2),
        (EarlyStopping(target=0.9), [0.95, 0.1], 0),  # the initial model counts
        (EarlyStopping(target=1.0), [0.1, 0.999], None),
        (EarlyStopping(patience=2), [0.1, 0.5, 0.5, 0.4, 0.9], 3),  # an equal one is no improvement
        (EarlyStopping(patience=2), [0.1, 0.5, 0.4, 0.6, 0.5, 0.6], 5),
        (EarlyStopping(patience=1), [0.5, 0.4], 1),
        (EarlyStopping(patience=2, min_delta=0.1), [0.5, 0.55, 0.59, 0.9], 2),
        (EarlyStopping(patience=2, min_delta=0.1), [0.5, 0.55, 0.61, 0.65, 0.66], 4),  # small steps add up
        (EarlyStopping(patience=3, target=0.6), [0.5, 0.4, 0.6], 2),
    ],
)
def test_the_rule_by_hand(rule, accuracies, round_number):
    assert stops_in(rule, validated(accuracies)) == round_number


@given(ACCURACIES, st.integers(1, 5), st.sampled_from([0.0, 0.05, 0.3]))
def test_patience_ends_after_so_many_rounds_without_an_improvement(accuracies, patience, min_delta):
    """Against the definition: no stop while each window of `patience` rounds holds an improvement."""
    improvements = [0]
    for number, accuracy in enumerate(accuracies):
        if accuracy > accuracies[improvements[-1]] + min_delta:
            improvements.append(number)
    gaps = [*pairwise(improvements), (improvements[-1], len(accuracies))]
    expected = next((one + patience for one, following in gaps if following - one > patience), None)
    rule = EarlyStopping(patience=patience, min_delta=min_delta)
    assert stops_in(rule, validated(accuracies)) == expected


@given(ACCURACIES, st.integers(0, 30))
def test_what_is_read_in_two_pieces_counts_as_in_one(accuracies, cut):
    rule, records = EarlyStopping(patience=2, target=0.95), validated(accuracies)
    whole, resumed = EarlyStop(rule, records), EarlyStop(rule, records[:cut])
    resumed.read(records[cut:])
    assert resumed.reason == whole.reason


def test_an_accuracy_that_is_the_target_but_for_rounding_reaches_it():
    pooled = float(np.average([0.9] * 3, weights=[0.1, 0.1, 0.1]))
    assert pooled < 0.9
    assert stops_in(EarlyStopping(target=0.9), validated([pooled])) == 0


def test_a_model_that_a_round_kept_is_judged_once():
    accuracies = validated([0.5, 0.4, 0.4, 0.4, 0.3])
    kept = [record(number, "unchanged", "no usable update came from a") for number in (1, 2)]
    in_order = sorted([*accuracies, *kept], key=lambda each: each["round"])
    assert stops_in(EarlyStopping(patience=2), accuracies) == 2
    assert stops_in(EarlyStopping(patience=2), in_order) == 4


def test_what_an_envoy_reports_decides_nothing():
    told = [record(0, "validate", "accuracy", 1.0, origin="env_one"), record(0, "validate", "loss", 1.0)]
    assert stops_in(EarlyStopping(target=0.5, patience=1), told) is None


# The rounds ---------------------------------------------------------------------------------------------


@pytest.fixture
def begin(tmp_path: Path, openfl_put_back: None) -> Iterator[Callable[..., Aggregator]]:
    """Return what begins an experiment, and resumes it when it is called again."""
    made: list[Aggregator] = []

    def make(names: str, **settings: Any) -> Aggregator:
        made.append(aggregator_on(tmp_path, list(names), **settings))
        return made[-1]

    new_state_folder(tmp_path, SIZE)
    yield make
    for aggregator in made:
        aggregator.stop(reason="the test is over")
        aggregator.state.close()


def run(aggregator, accuracies: list[float], names: str = "a") -> None:
    for accuracy in accuracies:
        for name in names:
            work(aggregator, name, weights=1 + accuracy, accuracy=accuracy)


def tasks(aggregator) -> list[str]:
    return [task.name for task in aggregator.get_tasks("a")[0] or []]


def test_the_rounds_that_are_left_are_skipped_and_the_best_model_is_tested(begin):
    aggregator = begin("a", rounds=10, early_stopping=EarlyStopping(patience=2))
    run(aggregator, [0.1, 0.7, 0.6, 0.5])
    reason = "validation accuracy 0.7000 not exceeded in 2 rounds; 4 of 10 rounds trained"
    assert texts(aggregator, "stopped_early") == [reason]
    assert tasks(aggregator) == ["validate"]  # the last aggregate may still be the best
    run(aggregator, [0.9])
    assert tasks(aggregator) == ["test_best"]
    assert aggregator.state.best.read().tolist() == [1.5] * SIZE
    run(aggregator, [0.9])
    assert aggregator.is_over and aggregator.failure is None
    history = history_of(aggregator.records, 10, ["a"])
    assert history.stopped_early == reason and history.rounds == len(history.results()) == 4
    assert history.test.accuracy == 0.9 and history.best_round == 4


def test_nothing_is_said_where_no_round_is_left_to_skip(begin):
    aggregator = begin("a", rounds=2, early_stopping=EarlyStopping(target=0.5))
    run(aggregator, [0.1, 0.6, 0.7, 0.7])
    assert aggregator.is_over and not texts(aggregator, "stopped_early")


@pytest.mark.parametrize("complete", range(1, 6))
def test_a_resumed_experiment_stops_where_it_would_have(begin, complete):
    """Interrupted after each of its rounds, the one that decides included."""
    accuracies, settings = [0.1, 0.7, 0.6, 0.5, 0.4, 0.3], {"early_stopping": EarlyStopping(patience=2)}
    interrupted = begin("a", rounds=9, **settings)
    run(interrupted, accuracies[:complete])
    interrupted.state.close()
    resumed = begin("a", rounds=9, **settings)
    run(resumed, accuracies[complete:])
    assert resumed.is_over
    assert [r["round"] for r in resumed.records if r["task_name"] == "stopped_early"] == [3]
    assert sorted({r["round"] for r in resumed.records if r["task_name"] == "train"}) == [0, 1, 2, 3]


def test_a_round_that_could_not_be_published_decides_nothing(begin, monkeypatch):
    settings = {"early_stopping": EarlyStopping(target=0.5)}
    whole = begin("a", rounds=9, **settings)

    def full(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(whole.state, "publish", full)
    run(whole, [0.9])
    assert "the disk is full" in whole.failure
    whole.state.close()
    resumed = begin("a", rounds=9, **settings)
    run(resumed, [0.1])
    assert not texts(resumed, "stopped_early") and tasks(resumed) == ["validate", "train"]


def test_a_skipped_round_spends_nothing(begin):
    private = Privacy(clip_norm=2.0, noise_multiplier=2.0)
    aggregator = begin("a", rounds=9, privacy=private, early_stopping=EarlyStopping(target=0.5))
    run(aggregator, [0.1, 0.6, 0.6, 0.6])
    assert aggregator.is_over
    spent = [r["round"] for r in aggregator.records if r["metric_name"] == "epsilon"]
    assert spent == [0, 1]


def test_with_a_fraction_all_who_validate_decide(begin):
    aggregator = begin("abcd", rounds=9, fraction=0.25, seed=3, early_stopping=EarlyStopping(patience=1))
    drawn = trainers(aggregator, "abcd")
    aggregator.drop(drawn, "gone")  # the next round validates the same model again
    others = "abcd".replace(drawn, "")
    run(aggregator, [0.5, 0.5], others)
    assert texts(aggregator, "unchanged") and not texts(aggregator, "stopped_early")
    run(aggregator, [0.4], others)
    assert len(texts(aggregator, "stopped_early")) == 1


def test_the_settings_travel():
    rule = EarlyStopping(target=0.9, patience=4, min_delta=0.01)
    assert EarlyStopping.from_dict(rule.to_dict()) == rule
    assert repr(EarlyStopping(patience=4)) == "EarlyStopping(patience=4)"
