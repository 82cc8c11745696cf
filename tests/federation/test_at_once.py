"""Experiments on different envoys run at the same time, the others wait and say behind whom."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from demo.ports import free_ports
from superb_node import local_socket
from superb_notebook.experiment import FederatedExperiment, attach
from tests.support.lab import Lab, follow
from tests.support.sine_experiment import Script, ballast_after

pytestmark = pytest.mark.federation


def two_ports() -> tuple[int, int]:
    """Return two free ports, one after the other."""
    while True:
        drawn = set(free_ports(100))
        for port in drawn:
            if port + 1 in drawn:
                return port, port + 1


@pytest.fixture(scope="module")
def twofold(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Three envoys, and a director that runs two experiments at a time."""
    with Lab(tmp_path_factory.mktemp("twofold"), envoys=3, ports=two_ports()) as lab:
        lab.heal()
        yield lab


def long_one(lab: Lab, *envoys: str, **changes: Any) -> FederatedExperiment:
    """Submit an experiment that goes on until it is stopped; returns when it has begun."""
    slow = Script(seconds=dict.fromkeys(lab.ranks, 0.2))
    experiment = lab.submit(slow, rounds=500, envoys=envoys, **changes)
    next(r for r in experiment.records() if r["task_name"] == "train")
    return experiment


def queued(records: list[dict[str, Any]]) -> list[str]:
    return [record["metric_name"] for record in records if record["task_name"] == "queued"]


def test_two_run_at_once_and_a_third_says_behind_whom_it_waits(twofold: Lab) -> None:
    one, two, three = twofold.envoy_names
    long = long_one(twofold, one)
    beside = twofold.run(rounds=2, envoys=[two, three])
    assert beside.status == "finished", beside.error
    assert np.isclose(beside.ballast, ballast_after([[2, 3], [2, 3]]))
    assert queued(beside.records) == []
    assert long.status() == "in_progress"
    third = twofold.submit(rounds=1, envoys=[one, two])
    # Two notebooks that watch are told the same.
    watching = [each.records() for each in (third, attach(third.federation, third.experiment_name))]
    for records in watching:
        seen = [next(records)["metric_name"] for _ in range(2)]
        for text in seen:
            assert text.startswith(f"experiment {long.experiment_name} (round "), seen
            assert text.endswith(" of 500)")
        assert seen[0] != seen[1], "it is told how far the other one is"
    long.stop()
    for records in watching:
        rest = list(records)
        last = max(number for number, record in enumerate(rest) if record["task_name"] == "queued")
        assert rest[last]["metric_name"] == "", "it waits no longer"
        assert {record["task_name"] for record in rest[: last + 1]} == {"queued"}
        assert {r["metric_origin"] for r in rest if r["task_name"] == "train"} == {one, two, "aggregator"}
    assert third.status() == "finished"


def test_each_has_a_port_of_its_own(twofold: Lab) -> None:
    import yaml

    text = (twofold.nodes_dir / "director" / "director_config.yaml").read_text()
    first, last = map(int, yaml.safe_load(text)["settings"]["aggregator_port"].split("-"))
    sockets = [Path(local_socket.path(port)) for port in (first, last, twofold.aggregator_port)]
    one, two, three = twofold.envoy_names
    experiments = [long_one(twofold, one), long_one(twofold, two)]
    assert [each.exists() for each in sockets] == [True, True, False]
    waits = twofold.submit(rounds=1, envoys=[three])  # its envoy is idle, but there is no port
    told = next(waits.records())["metric_name"]
    assert [f"experiment {each.experiment_name} (round " in told for each in experiments] == [True, True]
    experiments[1].stop()
    assert follow(waits).status == "finished"
    assert experiments[0].status() == "in_progress"
    experiments[0].stop()
    assert [follow(each).status for each in experiments] == ["stopped"] * 2


def test_what_waits_can_be_stopped(twofold: Lab) -> None:
    long = long_one(twofold, twofold.first)
    waits = twofold.submit(rounds=1, envoys=[twofold.first])
    next(waits.records())
    waits.stop()
    outcome = follow(waits)
    assert outcome.status == "stopped" and outcome.rounds("train", twofold.first) == []
    long.stop()
    assert follow(long).status == "stopped"


def test_both_are_resumed_after_a_crash_of_the_director(twofold: Lab) -> None:
    one, two, _ = twofold.envoy_names
    names = ["left", "right"]
    experiments = [
        long_one(twofold, *each, name=name) for each, name in zip([[one], [two]], names, strict=True)
    ]
    twofold.crash_director(experiments[0], lambda record: record["round"] == 2)
    assert [each.status() for each in experiments] == ["interrupted"] * 2
    again = [
        twofold.submit(rounds=40, name=name, envoys=each, resume=True)
        for each, name in zip([[one], [two]], names, strict=True)
    ]
    for experiment, name, envoy in zip(again, names, [one, two], strict=True):
        outcome = follow(experiment)
        assert outcome.status == "finished", outcome.error
        assert outcome.rounds("train", envoy) == list(range(40)), name


def test_with_one_port_experiments_on_other_envoys_wait_as_well(lab: Lab) -> None:
    long = long_one(lab, lab.first)
    waits = lab.submit(rounds=1, envoys=[lab.last])
    assert next(waits.records())["metric_name"].startswith(f"experiment {long.experiment_name} (round ")
    long.stop()
    assert follow(waits).status == "finished"
