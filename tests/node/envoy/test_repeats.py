"""How soon, and how often, an envoy takes part in one experiment again."""

from __future__ import annotations

import time

import pytest

from superb_node.approval.gate import Declined
from superb_node.envoy import repeats
from superb_node.envoy.repeats import MAX_QUICK_ENDS, QUICK_SECONDS, Repeats


def wanted() -> bool:
    return True


def seconds_of_wait(counted: Repeats, experiment_id: str) -> float:
    began = time.monotonic()
    assert counted.wait(experiment_id, wanted, 0.1)
    return time.monotonic() - began


def test_each_quick_end_doubles_the_pause_of_that_experiment() -> None:
    counted = Repeats()
    assert seconds_of_wait(counted, "a") < 0.5
    counted.ended("a", time.monotonic())
    assert seconds_of_wait(counted, "b") < 0.5
    assert 0.9 < seconds_of_wait(counted, "a") < 1.8
    counted.ended("a", time.monotonic())
    assert 1.9 < seconds_of_wait(counted, "a") < 3.8
    counted.ended("a", time.monotonic() - QUICK_SECONDS)
    assert seconds_of_wait(counted, "a") < 0.5
    counted.ended("a", time.monotonic())
    assert 0.9 < seconds_of_wait(counted, "a") < 1.8


def test_a_pause_ends_with_the_experiment() -> None:
    counted = Repeats()
    for _ in range(5):
        counted.ended("a", time.monotonic())
    began = time.monotonic()
    assert not counted.wait("a", lambda: False, 0.1)
    assert time.monotonic() - began < 2


def test_who_ends_quickly_too_often_does_not_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "MAX_PAUSE_SECONDS", 0.0)
    counted = Repeats()
    for _ in range(MAX_QUICK_ENDS):
        assert counted.wait("a", wanted, 0.1)
        counted.ended("a", time.monotonic())
    with pytest.raises(Declined, match="ended within 10 s 10 times in a row"):
        counted.wait("a", wanted, 0.1)
    assert counted.wait("b", wanted, 0.1)
