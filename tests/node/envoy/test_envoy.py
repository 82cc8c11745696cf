"""Each correction of the envoy, compared with what OpenFL's own class does in the same place."""

import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from openfl.component.envoy.envoy import Envoy as OpenFLEnvoy
from openfl.transport.grpc.exceptions import ShardNotFoundError

from superb_node.approval.gate import Gate
from superb_node.approval.settings import GateSettings
from superb_node.envoy.download import Download
from superb_node.envoy.envoy import Envoy
from superb_node.envoy.refusals import ShardRefused
from superb_node.envoy.template import WorkerFailed
from superb_node.reports import (
    AGGREGATOR_PORT_HEADER,
    AUTHOR_HEADER,
    DECLINED,
    ID_HEADER,
    MODEL_SIZE_HEADER,
    TASK_RAISED,
)
from tests.support.experiments import experiment_text

TEXT = experiment_text()


class Stop(BaseException):
    """Ends an envoy's endless loops in a test."""


class Unavailable(grpc.RpcError, grpc.Call):
    """What gRPC raises while the director is away."""

    def __init__(self, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE, details: str = "away") -> None:
        self._code, self._details = code, details

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details


for _abstract in list(Unavailable.__abstractmethods__):
    setattr(Unavailable, _abstract, lambda *_: None)
Unavailable.__abstractmethods__ = frozenset()


class Stream(list):
    """The parts of an experiment, with who submitted it and where its aggregator is."""

    cancelled = False
    told: tuple[Any, ...] = (
        (AUTHOR_HEADER, b"ann"),
        (ID_HEADER, "1d"),
        (AGGREGATOR_PORT_HEADER, "50051"),
        (MODEL_SIZE_HEADER, "5"),
    )

    def initial_metadata(self):
        return self.told

    def cancel(self):
        self.cancelled = True


class DirectorClient:
    """Answers an envoy from a script: each entry of a list is returned, or raised, once."""

    def __init__(self, **answers: list) -> None:
        self.stub = SimpleNamespace(
            UpdateShardInfo=lambda request, **options: None, SetExperimentFailed=self._take_report
        )
        self.answers = answers
        self.failures: list[tuple] = []
        self.about: list[str | None] = []  # the id of the experiment that each failure is about
        self.calls: list[str] = []

    def _next(self, method: str):
        self.calls.append(method)
        if not self.answers.get(method):
            raise Stop(method)
        answer = self.answers[method].pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def wait_experiment(self):
        return self._next("wait_experiment")

    def get_experiment_data(self, name):
        return self._next("get_experiment_data")

    def report_shard_info(self, **_):
        return self._next("report_shard_info")

    def send_health_check(self, **_):
        return self._next("send_health_check")

    def _take_report(self, request, metadata=None):
        self.failures.append((request.experiment_name, request.error_code, request.error_description))
        self.about.append(dict(metadata or ()).get(ID_HEADER))


@pytest.fixture
def make_envoy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Return what makes an envoy of a class with scripted answers of the director."""
    monkeypatch.chdir(tmp_path)
    for module in ("superb_node.envoy.envoy", "openfl.component.envoy.envoy"):
        monkeypatch.setattr(sys.modules[module].time, "sleep", lambda _: None)

    def make_envoy(envoy_class: type[OpenFLEnvoy], **answers: list) -> OpenFLEnvoy:
        shard = SimpleNamespace(sample_shape=["16000"], target_shape=["1"], dataset_description="")
        gate = Gate(GateSettings(), "the owner of env_one", tmp_path / "approval")
        envoy = envoy_class(
            **({"gate": gate, "template": None, "personal": tmp_path} if envoy_class is Envoy else {}),
            shard_name="env_one",
            director_host="localhost",
            director_port=1,
            shard_descriptor=shard,
            tls=False,
            install_requirements=False,
        )
        envoy.director_client = DirectorClient(**answers)
        return envoy

    return make_envoy


def run(envoy: OpenFLEnvoy) -> BaseException:
    with pytest.raises(BaseException) as ended:  # noqa: PT011 (what ends it is the question)
        envoy.run()
    return ended.value


def chunk(size: int, data: bytes) -> SimpleNamespace:
    return SimpleNamespace(size=size, npbytes=data)


def test_a_damaged_download_is_reported_and_the_envoy_serves_on(make_envoy):
    damaged = Stream([chunk(9, b"1234")])
    answers: dict[str, list[Any]] = {"wait_experiment": ["exp"], "get_experiment_data": [damaged]}
    assert str(run(make_envoy(OpenFLEnvoy, **{k: list(v) for k, v in answers.items()}))) == "Broken archive"

    envoy = make_envoy(Envoy, **answers)
    assert isinstance(run(envoy), Stop)
    ((name, code, description),) = envoy.director_client.failures
    assert (name, code) == ("exp", 1)
    assert "a part has another size than announced" in description
    assert envoy.director_client.calls[-1] == "wait_experiment", "it asks for the next one"


def test_what_is_no_experiment_is_declined_with_the_reason_and_nothing_stays(make_envoy, tmp_path):
    envoy = make_envoy(Envoy, wait_experiment=["exp"], get_experiment_data=[Stream([chunk(4, b"1234")])])
    run(envoy)
    ((name, code, description),) = envoy.director_client.failures
    assert (name, code) == ("exp", DECLINED)
    assert "an experiment has the fields" in description
    assert list(tmp_path.iterdir()) == []


def test_a_task_that_raises_is_reported_with_a_traceback_and_nothing_stays(make_envoy, tmp_path, monkeypatch):
    envoy = make_envoy(Envoy, wait_experiment=["exp"], get_experiment_data=[Stream([chunk(len(TEXT), TEXT)])])

    def fail(download: Download, folder: Path) -> None:
        assert folder.is_dir()
        raise WorkerFailed(TASK_RAISED, "Traceback: no such label")

    monkeypatch.setattr(envoy, "_run_worker", fail)
    assert isinstance(run(envoy), Stop)
    ((name, code, description),) = envoy.director_client.failures
    assert (name, code) == ("exp", TASK_RAISED)
    assert description.startswith("Traceback")
    assert "no such label" in description
    assert not envoy.is_experiment_running
    assert list(tmp_path.iterdir()) == []


def test_an_envoy_waits_for_a_director_that_is_not_there_yet(make_envoy):
    stock = make_envoy(OpenFLEnvoy, report_shard_info=[Unavailable()])
    with pytest.raises(SystemExit):
        stock.start()
    envoy = make_envoy(Envoy, report_shard_info=[Unavailable(), Unavailable(), True])
    envoy._register()
    assert envoy.director_client.calls == ["report_shard_info"] * 3


def test_an_envoy_that_is_cut_off_asks_again(make_envoy):
    envoy = make_envoy(Envoy, wait_experiment=[Unavailable(), Unavailable()])
    assert isinstance(run(envoy), Stop)
    assert envoy.director_client.calls == ["wait_experiment"] * 3
    assert envoy.director_client.failures == []


@pytest.mark.parametrize(("envoy_class", "signs"), [(OpenFLEnvoy, 1), (Envoy, 4)])
def test_the_heartbeat_outlives_the_director(make_envoy, envoy_class, signs):
    """OpenFL's own dies of the first sign that is not delivered, or with the answer's missing period."""
    envoy = make_envoy(
        envoy_class,
        send_health_check=[Unavailable(), ShardNotFoundError(), 1],
        report_shard_info=[True],
    )
    with pytest.raises((Stop, Unavailable)):
        envoy.send_health_check()
    assert envoy.director_client.calls.count("send_health_check") == signs


def test_a_refused_shard_is_told_with_the_reason(make_envoy):
    with pytest.raises(ShardRefused, match=r"refused shard env_one: sample_shape \['16000'\]"):
        make_envoy(Envoy, report_shard_info=[False])._register()
    taken = Unavailable(grpc.StatusCode.ALREADY_EXISTS, "an envoy named 'env_one' takes part already")
    with pytest.raises(ShardRefused, match="takes part already"):
        make_envoy(Envoy, report_shard_info=[taken])._register()


def test_a_heartbeat_whose_name_was_taken_goes_on(make_envoy):
    taken = Unavailable(grpc.StatusCode.ALREADY_EXISTS, "takes part already")
    envoy = make_envoy(Envoy, send_health_check=[ShardNotFoundError()], report_shard_info=[taken])
    with pytest.raises(Stop):
        envoy.send_health_check()
    assert envoy.director_client.calls == ["send_health_check", "report_shard_info", "send_health_check"]


def test_the_heartbeat_does_not_keep_the_process_alive(make_envoy, monkeypatch):
    envoy = make_envoy(Envoy, report_shard_info=[True])
    monkeypatch.setattr(Envoy, "send_health_check", lambda self: threading.Event().wait())
    with pytest.raises(Stop):
        envoy.start()
    assert next(thread for thread in threading.enumerate() if thread.name == "heartbeat").daemon


def test_a_stop_in_an_experiment_is_reported_as_the_owners_and_passed_on(make_envoy, tmp_path, monkeypatch):
    envoy = make_envoy(Envoy)

    def stopped(download: Download, folder: Path) -> None:
        raise Stop("SIGTERM")

    monkeypatch.setattr(envoy, "_run_worker", stopped)
    with pytest.raises(Stop):
        envoy._take_part(Download("exp", "ann", TEXT, "1d", 50051, 5))
    assert envoy.director_client.failures == [("exp", 2, "stopped by its owner (SIGTERM)")]
    assert not envoy.is_experiment_running
    assert list(tmp_path.iterdir()) == []


def test_a_lost_link_is_no_task_that_raised(make_envoy):
    """The director goes on without the envoy, which asks again; see `superb_node.reports.LEFT`."""
    envoy = make_envoy(Envoy)
    for was_reached, code in ((True, 2), (False, 1)):
        error = ConnectionError("the aggregator did not answer for 60 s")
        error.was_reached = was_reached  # type: ignore[attr-defined]  # as the experiment's own class has it
        envoy._report_failure(Download("exp", "ann", b"", "1d", 50051, 5), error)
        name, reported, description = envoy.director_client.failures[-1]
        assert (name, reported, envoy.director_client.about[-1]) == ("exp", code, "1d")
        assert "the aggregator did not answer for 60 s" in description
    assert "lost the way to the aggregator" in envoy.director_client.failures[0][2]
