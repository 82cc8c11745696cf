"""The notebook's side without a federation: names, classes, and an address where nobody answers."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest
from openfl.interface.interactive_api.experiment import TaskInterface

from superb_ks.model.spec import ModelSpec
from superb_ks.settings import Addresses, Settings
from superb_node.flower.cli import FlowerRefused
from superb_notebook.connect import FederationError, connect, shard_cards, shared_labels
from superb_notebook.experiment import ExperimentFailed, FederatedExperiment
from superb_notebook.flower import FlowerClient


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def test_an_unknown_director_is_named_with_what_to_do():
    port = closed_port()
    with pytest.raises(
        FederationError, match=rf"no director answers at localhost:{port} .*start_director.sh"
    ):
        connect(Settings(addresses=Addresses(director_port=port)))


@pytest.mark.parametrize("name", ["", "1st", "a b", "../cert", "a/b", "a" * 64, "ä", "a.b", "-a"])
def test_illegal_names_are_refused_before_anything_is_made(name):
    with pytest.raises(ValueError, match="experiment name .*legal: a letter"):
        FederatedExperiment(None, name)


def test_an_unknown_run_on_flower_is_named(tmp_path: Path) -> None:
    federation = SimpleNamespace(dir_client=FlowerClient(cast(Any, None), tmp_path))
    experiment = FederatedExperiment(cast(Any, federation), "other")
    for what in (experiment.stop, experiment.status):
        with pytest.raises(FlowerRefused, match="^there is no experiment 'other' in "):
            what()


class Registry:
    """Stands in for a federation whose director knows these shards."""

    tls = False

    def __init__(self, **shards: tuple[bool, list[str]]) -> None:
        self.shards = shards

    def get_shard_registry(self) -> dict:
        info = type("Info", (), {})
        registry = {}
        for name, (online, labels) in self.shards.items():
            shard = info()
            shard.shard_description = json.dumps(
                {"labels": labels, "clips": dict.fromkeys(("train", "val", "test"), {labels[0]: 1})}
            )
            registry[name] = {"is_online": online, "shard_info": shard}
        return registry


def test_cards_of_those_online_in_the_order_of_names():
    cards = shard_cards(Registry(b=(True, ["x"]), a=(True, ["x"]), c=(False, ["y"])))
    assert list(cards) == ["a", "b"]
    assert shared_labels(cards) == ("x",)


def test_cards_of_those_who_are_chosen():
    registry = Registry(b=(True, ["x"]), a=(True, ["x"]), c=(False, ["y"]))
    assert list(shard_cards(registry, ("b",))) == ["b"]
    for chosen, told in {
        ("b", "c"): "envoy c is",
        ("d",): "envoy d is",
        ("c", "d"): "envoys c, d are",
    }.items():
        with pytest.raises(FederationError, match=f"^{told} not online; online: a, b$"):
            shard_cards(registry, chosen)
    with pytest.raises(FederationError, match="^envoy a is not online; online: nobody$"):
        shard_cards(Registry(), ["a"])


def test_shards_with_different_classes_are_named():
    with pytest.raises(FederationError, match="a, c: yes no; b: yes up"):
        shared_labels({name: {"labels": ["yes", "up" if name == "b" else "no"]} for name in "abc"})
    with pytest.raises(FederationError, match="no envoy is online"):
        shared_labels({})


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ((), "lacks train, validate, test .it has no task."),
        (("train", "validate"), "lacks test .it has train, validate."),
        (("train", "test", "evaluate"), "lacks validate .it has evaluate, test, train."),
    ],
)
def test_a_missing_task_is_named_before_anything_is_sent(names, told):
    tasks = TaskInterface()
    for name in names:

        def task(model, shard, device):
            return {}

        task.__name__ = name
        tasks.register_fl_task(model="model", data_loader="shard", device="device")(task)
    experiment = object.__new__(FederatedExperiment)  # knows no federation to send anything to
    with pytest.raises(ValueError, match=told):
        experiment.start(model=ModelSpec("scratch", ("yes", "no")), tasks=tasks, settings=Settings())


class Unavailable(grpc.RpcError):
    """What gRPC raises when a link breaks."""

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNAVAILABLE

    def details(self) -> str:
        return "keepalive watchdog timeout"


class BreakingLink:
    """A director with five records, over a link that breaks after so many of them, each time once."""

    def __init__(self, breaks_after: list[int], comes_back: bool = True) -> None:
        self.breaks_after, self.comes_back = breaks_after, comes_back

    def stream_metrics(self, name: str) -> Iterator[dict]:
        breaks = self.breaks_after.pop(0) if self.breaks_after else None
        for number in range(5):
            if number == breaks:
                raise Unavailable
            yield {"task_name": "train", "round": number}

    def get_experiment_status(self, name: str) -> SimpleNamespace:
        if not self.comes_back:
            raise Unavailable
        return SimpleNamespace(experiment_status="finished")


def over(link: BreakingLink) -> FederatedExperiment:
    experiment = object.__new__(FederatedExperiment)
    experiment.experiment_name = "exp"
    experiment.federation = SimpleNamespace(dir_client=link)
    return experiment


@pytest.mark.parametrize("breaks_after", [[], [0], [3], [2, 4, 1]])
def test_records_go_on_where_a_link_broke(breaks_after):
    records = over(BreakingLink(breaks_after)).records()
    assert [record["round"] for record in records] == [0, 1, 2, 3, 4]


def test_what_is_told_while_it_waits_is_not_counted_as_a_record():
    """It is told again over the new link, or no more."""

    class Queue(BreakingLink):
        told = [["behind one", "behind two"], ["behind two", ""], []]

        def stream_metrics(self, name: str) -> Iterator[dict]:
            for text in self.told.pop(0):
                yield {"task_name": "queued", "metric_name": text}
            yield from super().stream_metrics(name)

    records = list(over(Queue([0, 2])).records())
    assert [r["metric_name"] for r in records if "metric_name" in r] == ["behind one", "behind two", ""]
    assert [r["round"] for r in records if "round" in r] == [0, 1, 2, 3, 4]


def test_a_director_that_stays_away_ends_the_records():
    records = over(BreakingLink([3], comes_back=False)).records()
    assert [next(records)["round"] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ExperimentFailed, match=r"does not answer .keepalive.*attach.*resume=True"):
        next(records)
