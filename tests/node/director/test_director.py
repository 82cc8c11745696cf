"""Each correction of the director, compared with what OpenFL's own class does in the same place."""

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from openfl.component.director import Director as OpenFLDirector
from openfl.component.director.experiment import ExperimentsRegistry
from openfl.protocols import director_pb2

from superb_ks.aggregator.membership import Membership
from superb_node.approval.store import Submission
from superb_node.director import submission as submissions
from superb_node.director.director import Director
from superb_node.director.experiment_queue import ExperimentQueue
from superb_node.director.experiment_store import Refused
from superb_node.director.service import DirectorService
from tests.support.cards import CARD
from tests.support.experiments import changed_text, experiment_text
from tests.support.open_gate import open_gate

SHAPES = {"sample_shape": ["16000"], "target_shape": ["1"]}


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def director_in(folder: Path, **settings: Any) -> Director:
    experiments = folder / "experiments"
    common = {"tls": False, "envoy_health_check_period": 5, **SHAPES}
    return Director(experiments_folder=experiments, gate=open_gate(folder), **common, **settings)


@pytest.fixture
def director(tmp_path: Path) -> Director:
    return director_in(tmp_path)


def register(director: OpenFLDirector, name: str) -> None:
    director.acknowledge_shard({"node_info": {"name": name}, **SHAPES})


def test_envoys_can_be_listed_right_after_a_registration(director):
    stock = OpenFLDirector(tls=False, **SHAPES)
    register(stock, "env_one")
    with pytest.raises(KeyError):
        stock.get_envoys()
    register(director, "env_one")
    assert [envoy["is_online"] for envoy in director.get_envoys()] == [True]


def test_experiments_can_be_listed(director):
    stock = OpenFLDirector(tls=False, **SHAPES)
    stock.experiments_registry.add(
        SimpleNamespace(
            name="x", users=["notebook"], status="in_progress", collaborators=[], aggregator=SimpleNamespace()
        )
    )
    with pytest.raises(AttributeError):
        stock.get_experiments_list("notebook")
    assert director.get_experiments_list("notebook") == []


async def picked_up_within(registry: ExperimentQueue | ExperimentsRegistry, seconds: float) -> bool:
    """Say whether an experiment that is submitted to a waiting registry is picked up soon."""
    stock = isinstance(registry, ExperimentsRegistry)

    async def pick_up() -> None:
        async with registry.get_next_experiment() if stock else registry.next_experiment():
            pass

    waiting = asyncio.create_task(pick_up())
    await asyncio.sleep(0.05)
    registry.add(SimpleNamespace(name="x", collaborators=["a"]))
    done, _ = await asyncio.wait([waiting], timeout=seconds)
    waiting.cancel()
    return bool(done)


def test_a_submitted_experiment_is_picked_up_at_once():
    assert not asyncio.run(picked_up_within(ExperimentsRegistry(), 1.0)), "OpenFL does this itself now"
    registry = ExperimentQueue()
    assert asyncio.run(picked_up_within(registry, 5.0))
    assert registry.get("x") is None, "it is forgotten when it is over"


def test_an_unknown_experiment_has_no_status_but_a_reason(director):
    stock = OpenFLDirector(tls=False, **SHAPES)
    assert asyncio.run(stock.get_experiment_status("nowhere", "notebook")) is None
    with pytest.raises(Refused, match="no experiment named 'nowhere'"):
        asyncio.run(director.get_experiment_status("nowhere", "notebook"))


class Aggregator:
    """Adds records while they are streamed, and ends."""

    def __init__(self, director: Director) -> None:
        self.records = [record(number) for number in range(3)]
        self.director = director


def record(number: int) -> dict:
    return {
        "round": 0,
        "metric_origin": "a",
        "task_name": "t",
        "metric_name": str(number),
        "metric_value": 0.0,
    }


def test_no_record_is_skipped_that_arrives_while_others_are_sent(director):
    async def chunks():
        yield bytes(4)

    async def stream() -> list[str]:
        await director.experiments.create("x", "notebook", ["a"], 1, chunks())
        director.experiments.update("x", status="in_progress")
        aggregator = Aggregator(director)
        waiting = SimpleNamespace(name="x", aggregator=aggregator, collaborators=["a"], sender="notebook")
        director.experiments_registry.add(waiting)
        seen = []
        async for each in director.stream_metrics("x", "notebook"):
            seen.append(each["metric_name"])
            if len(seen) in (2, 4):  # news, in the middle of the batch
                aggregator.records.append(record(len(aggregator.records)))
            if len(seen) == 5:
                director.experiments.update("x", status="finished")
                director.experiments_registry.remove("x")
        return seen

    assert asyncio.run(asyncio.wait_for(stream(), 20)) == ["0", "1", "2", "3", "4"]


def test_a_living_envoy_keeps_its_name(director):
    director.envoy_names.claim("env_one", "here")
    register(director, "env_one")
    director.envoy_names.record("env_one", "here")
    director.envoy_names.claim("env_one", "here")
    with pytest.raises(Refused, match="an envoy named 'env_one' takes part already; choose another name"):
        director.envoy_names.claim("env_one", "there")
    director._shard_registry["env_one"]["last_updated"] = time.time() - 11
    director.envoy_names.claim("env_one", "there")


@pytest.mark.parametrize(("shape", "holder"), [(["1"], "first"), (["16000"], "second")])
def test_a_shard_that_is_not_accepted_takes_no_name(tmp_path, shape, holder):
    """An envoy has stopped; the second of its name has a shard of another shape, or of the right one."""
    server = DirectorService(
        director_cls=Director,
        tls=False,
        listen_host="localhost",
        experiments_folder=tmp_path / "experiments",
        gate=open_gate(tmp_path),
        envoy_health_check_period=5,
        **SHAPES,
    )

    def registers(home: str, shape: list[str]) -> bool:
        request = director_pb2.UpdateShardInfoRequest()
        request.shard_info.node_info.name = "env_one"
        request.shard_info.sample_shape.extend(shape)
        request.shard_info.target_shape.extend(SHAPES["target_shape"])
        request.shard_info.shard_description = CARD
        context = SimpleNamespace(
            invocation_metadata=lambda: (("envoy_home", home),), peer=lambda: "here", abort=None
        )
        return asyncio.run(server.UpdateShardInfo(request, context)).accepted

    assert registers("first", SHAPES["sample_shape"])
    server.director._shard_registry["env_one"]["last_updated"] = time.time() - 11
    assert registers("second", shape) == (holder == "second")
    assert server.director.envoy_names.homes == {"env_one": holder}


def test_only_listed_envoys_register(tmp_path):
    director = director_in(tmp_path, envoys=["env_one"])
    director.envoy_names.claim("env_one", "here")
    with pytest.raises(Refused, match="envoy 'env_two': it is not on the director's list of envoys"):
        director.envoy_names.claim("env_two", "here")


def test_an_experiment_is_for_those_who_are_enrolled(director):
    """OpenFL's own gives it to anyone who knows the experiment's name."""
    stock = OpenFLDirector(tls=False, **SHAPES)
    for each in (stock, director):
        experiment = SimpleNamespace(name="x", archive_path="archive", collaborators=["a"], aggregator=None)
        each.experiments_registry.add(experiment)
    assert stock.get_experiment_data("x") == "archive"
    assert director.experiment_for("x", "a") is experiment
    for name, envoy in (("x", "stranger"), ("y", "a")):
        with pytest.raises(Refused, match=f"experiment '{name}' is over, or envoy '{envoy}' is not enrolled"):
            director.experiment_for(name, envoy)


def test_a_name_of_megabytes_that_an_envoy_asks_for_reaches_neither_the_log_nor_the_answer(director, caplog):
    with pytest.raises(Refused) as refused:
        director.experiment_for(4_000_000 * "x", "env_one")
    assert len(str(refused.value)) < 300
    assert len(caplog.messages) == 1 and len(caplog.messages[0]) < 300


def test_a_report_of_somebody_who_is_not_enrolled_changes_nothing(director):
    failed = []
    aggregator = SimpleNamespace(task_failed=lambda *report: failed.append(report))
    director.experiments_registry.add(SimpleNamespace(name="x", aggregator=aggregator, collaborators=["a"]))
    director.set_experiment_failed(experiment_name="x", collaborator_name="stranger", reason="r")
    director.set_experiment_failed(experiment_name="y", collaborator_name="a", reason="r")
    assert failed == []
    director.set_experiment_failed(experiment_name="x", collaborator_name="a", reason="r")
    assert failed == [("a", "r")]


def test_a_damaged_experiment_is_refused_before_it_is_stored(director):
    def inspect(data: bytes, size: int) -> tuple[Submission, bool]:
        head = SimpleNamespace(name="x", experiment_data=SimpleNamespace(npbytes=data, size=size))
        return asyncio.run(submissions._inspect(director, head, "notebook"))

    data = experiment_text()
    submission, runs_now = inspect(data, len(data))
    assert (submission.name, submission.author, runs_now) == ("x", "notebook", True)
    for damaged in (b"", data[: len(data) // 2], b"\xff" + data):
        with pytest.raises(Refused, match="the experiment is not JSON"):
            inspect(damaged, len(damaged))
    with pytest.raises(Refused, match="the experiment arrived damaged"):
        inspect(data, len(data) + 1)
    other = changed_text(package={"version": "0", "digest": "0"})
    with pytest.raises(Refused, match="another package superb_ks"):
        inspect(other, len(other))


@pytest.mark.parametrize("port", ["", "0", "443", "65536", "-1", "x", "1e3", "9" * 50, "\u0663"])
def test_a_port_that_is_none_is_named(port):
    with pytest.raises(Refused, match="aggregator_port is .*; legal: a whole number from 1024 to 65535"):
        submissions._legal_port(port)


def test_a_name_that_could_not_be_a_folders_is_refused(director):
    for name in ("../env_one", "env one", "", "-env", "e" * 64):
        with pytest.raises(Refused, match="envoy name .*; legal: a letter, then up to 62"):
            director.envoy_names.claim(name, "here")
    for name in ("aggregator", "Director", "All", "authority"):  # records mean something else by it
        with pytest.raises(Refused, match=f"envoy name '{name}' is reserved"):
            director.envoy_names.claim(name, "here")
    register(director, "env_one")


def test_an_envoy_whose_owner_declined_is_not_asked_again(director, work):
    dropped = []
    aggregator = SimpleNamespace(
        is_over=False,
        quit_job_sent_to=[],
        failure=None,
        drop=lambda name, reason, for_good=False: dropped.append((name, reason, for_good)),
    )
    director.submit("x", "notebook", ["a", "b"], experiment_text(), 50051)
    experiment = director.experiments_registry.get("x")
    experiment.aggregator = aggregator
    assert experiment.wants("a") and experiment.wants("b")
    director.set_experiment_failed(
        experiment_name="x", collaborator_name="b", reason="rejected by its owner", declined=True
    )
    assert dropped == [("b", "rejected by its owner", True)]
    assert experiment.wants("a") and not experiment.wants("b")
    experiment.aggregator = None


def test_an_envoy_that_asks_is_told_whether_an_experiment_still_wants_it(director, work):
    director.submit("x", "notebook", ["a", "b"], experiment_text(), 50051)

    async def ask() -> None:
        async with director.experiments_registry.next_experiment() as experiment:
            members = Membership(["a", "b"])
            aggregator = SimpleNamespace(is_over=False, quit_job_sent_to=[], failure=None, members=members)
            experiment.aggregator = aggregator
            assert director.still_wants("x", experiment.id, "a")
            members.heard_from("a")
            members.leave("a")
            assert not director.still_wants("x", experiment.id, "a"), "the round was closed without it"
            assert await director.wait_experiment("a") == "x", "it is invited again"
            assert director.still_wants("x", experiment.id, "a")
            assert not director.still_wants("y", experiment.id, "a")
            assert not director.still_wants("x", "of an earlier submission", "a")
            assert director.is_current("x", experiment.id) and director.is_current("x", "")
            assert not director.is_current("x", "of an earlier submission")
            assert aggregator.quit_job_sent_to == []
            aggregator.failure = "notebook: stopped"
            assert not director.still_wants("x", experiment.id, "a")
            assert aggregator.quit_job_sent_to == ["a"], "the end need not wait until it is told again"
            experiment.aggregator = None
        assert not director.still_wants("x", experiment.id, "a")

    asyncio.run(ask())


async def invited(director: OpenFLDirector, timeout: float) -> list[bool]:
    """Invite an envoy once that asks twice, as over a new link; say which of the calls was answered."""
    calls = [asyncio.create_task(director.wait_experiment("env_one")) for _ in range(2)]
    await asyncio.sleep(0.05)
    registry = director.experiments_registry
    stock = isinstance(registry, ExperimentsRegistry)
    registry.add(
        SimpleNamespace(
            name="x", collaborators=["env_one"], wants=lambda name: True, invited=lambda name: None
        )
    )
    async with registry.get_next_experiment() if stock else registry.next_experiment():
        director.col_exp_queues["env_one"].put_nowait("x")
        done, pending = await asyncio.wait(calls, timeout=timeout)
        for call in pending:
            call.cancel()
        return [call in done for call in calls]


def test_a_call_over_a_broken_link_takes_no_invitation_away(director):
    stock = OpenFLDirector(tls=False, **SHAPES)
    assert asyncio.run(invited(stock, timeout=2.0)) == [True, False], "OpenFL does it itself now"
    assert asyncio.run(invited(director, timeout=10.0)) == [True, True]
