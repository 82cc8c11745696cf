"""An envoy whose owner decides: what it downloads, waits for, declines, and tells the director."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from superb_ks.experiment import MAX_MODEL_SIZE
from superb_node.approval.gate import Gate
from superb_node.approval.settings import GateSettings
from superb_node.approval.store import APPROVED, REJECTED
from superb_node.envoy import approval_wait
from superb_node.envoy.download import DamagedDownload
from superb_node.envoy.envoy import Envoy
from superb_node.reports import DECLINED, ID_HEADER, MODEL_SIZE_HEADER, STILL_RUNS_HEADER, WAITS
from tests.node.envoy.test_envoy import Stop, Stream, Unavailable
from tests.support.experiments import changed_text, experiment_text

TEXT = experiment_text()


def parts(*data: bytes) -> Stream:
    return Stream(SimpleNamespace(size=len(each), npbytes=each) for each in data)


@pytest.fixture
def make_envoy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Return what makes an envoy with a gate; `told` is what the director heard, `ran` what was run."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)

    def make_envoy(stream: Stream | None = None, answers: list | None = None, **settings) -> Envoy:
        gate = Gate(GateSettings(**settings), "the owner of env_one", tmp_path / "approval")
        shard = SimpleNamespace(sample_shape=["16000"], target_shape=["1"], dataset_description="")
        envoy = Envoy(
            gate=gate, template=None, personal=tmp_path, shard_name="env_one", director_host="localhost",
            director_port=1, shard_descriptor=shard, tls=False, install_requirements=False,
        )  # fmt: skip
        envoy.told, envoy.ran = [], []

        def take_report(report, metadata):
            assert metadata == ((ID_HEADER, "1d"),)
            envoy.told.append((report.experiment_name, report.error_code, report.error_description))

        def wait_experiment(request, timeout, metadata):
            assert metadata == ((STILL_RUNS_HEADER, "exp"), (ID_HEADER, "1d"))
            answer = (answers or []).pop(0)
            if isinstance(answer, BaseException):
                raise answer
            return SimpleNamespace(experiment_name=answer)

        envoy.director_client = SimpleNamespace(
            get_experiment_data=lambda name: stream or parts(TEXT[:50], TEXT[50:]),
            stub=SimpleNamespace(WaitExperiment=wait_experiment, SetExperimentFailed=take_report),
        )
        monkeypatch.setattr(Envoy, "_run_experiment", lambda self, download: envoy.ran.append(download.text))
        return envoy

    return make_envoy


def each_second(monkeypatch: pytest.MonkeyPatch, *steps) -> None:
    """Let something happen in each pause of the envoy, in turn."""
    waiting = list(steps)
    monkeypatch.setattr(approval_wait.time, "sleep", lambda _: waiting.pop(0)())


def take(envoy: Envoy) -> None:
    envoy._take_part(envoy._download("exp"))


def test_an_open_gate_runs_what_arrives_whole(make_envoy):
    envoy = make_envoy()
    take(envoy)
    assert (envoy.ran, envoy.told) == ([TEXT], [])
    download = envoy._download("exp")
    assert (download.author, download.id, download.aggregator_port) == ("ann", "1d", 50051)
    assert download.model_size == 5


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (parts(b"x" * 2**20, b"x", b"x"), "more than the legal 1,048,576 bytes"),
        (Stream([SimpleNamespace(size=3, npbytes=b"xx")]), "a part has another size"),
    ],
)
def test_a_download_that_is_refused_leaves_nothing(make_envoy, stream, message):
    envoy = make_envoy(stream)
    with pytest.raises(DamagedDownload, match=message):
        envoy._download("exp")
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize("name", ["../exp", "a/b", "", ".exp", "exp\n"])
def test_an_illegal_name_touches_no_path(make_envoy, name):
    with pytest.raises(DamagedDownload, match="experiment name .*; legal: a letter"):
        make_envoy()._download(name)


def test_a_director_of_another_release_is_told_of(make_envoy):
    stream = parts(TEXT)
    stream.told = ()
    with pytest.raises(DamagedDownload, match="does not tell where its aggregator is"):
        make_envoy(stream)._download("exp")


@pytest.mark.parametrize("size", ["", "-1", "5.0", str(MAX_MODEL_SIZE + 1), "9" * 10_000])
def test_a_model_of_no_legal_size_is_refused(make_envoy, size):
    stream = parts(TEXT)
    stream.told = (*Stream.told[:-1], (MODEL_SIZE_HEADER, size))
    with pytest.raises(DamagedDownload, match=r"of a model of '.{0,120} values; legal: up to 1,073,741,824"):
        make_envoy(stream)._download("exp")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (changed_text(tasks="\u202e"), "control character"),
        (changed_text(package={"version": "2", "digest": "f"}), "another package superb_ks"),
    ],
)
def test_an_unsound_experiment_is_declined_and_leaves_nothing(make_envoy, text, told):
    envoy = make_envoy(parts(text))
    take(envoy)
    ((name, code, reason),) = envoy.told
    assert (name, code, envoy.ran) == ("exp", DECLINED, [])
    assert told in reason
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize("answer", [APPROVED, REJECTED])
def test_the_owners_answer(make_envoy, monkeypatch, answer):
    envoy = make_envoy(approval="manual")
    submission = envoy.gate.inspect("exp", "ann", TEXT)
    store = envoy.gate.store
    each_second(monkeypatch, lambda: None, lambda: store.record_decision(submission, answer, "why"))
    take(envoy)
    assert envoy.told[0] == ("exp", WAITS, f"exp, digest {submission.digest}")
    if answer == APPROVED:
        assert (envoy.ran, len(envoy.told)) == ([TEXT], 1)
        take(envoy)
        assert len(envoy.ran) == 2, "it is not asked for again when the envoy comes back"
    else:
        assert envoy.ran == []
        assert envoy.told[1:] == [("exp", DECLINED, "rejected by the owner of env_one: why")]
        assert list(Path.cwd().iterdir()) == []


def test_a_stop_while_it_waits_is_reported_as_the_owners(make_envoy, monkeypatch):
    envoy = make_envoy(approval="manual")

    def stop() -> None:
        raise Stop("SIGINT")

    each_second(monkeypatch, stop)
    with pytest.raises(Stop):
        take(envoy)
    assert envoy.told[1:] == [("exp", 2, "stopped by its owner (SIGINT)")]
    assert list(Path.cwd().iterdir()) == []
    assert envoy.gate.store.pending() == []


def test_an_experiment_that_ends_meanwhile_is_waited_for_no_longer(make_envoy, monkeypatch):
    monkeypatch.setattr(approval_wait, "ASK_SECONDS", 0)
    answers = ["exp", Unavailable(), "exp", ""]
    envoy = make_envoy(answers=answers, approval="manual")
    monkeypatch.setattr(approval_wait.time, "sleep", lambda _: None)
    take(envoy)
    assert (envoy.ran, answers) == ([], [])
    assert [code for _, code, _ in envoy.told] == [WAITS]
    assert list(Path.cwd().iterdir()) == []
    assert envoy.gate.store.pending() == []
