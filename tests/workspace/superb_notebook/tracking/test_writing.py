"""Each backend is written to by its own library and read back; an experiment does not depend on any."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from demo.ports import free_ports
from superb_ks.settings import Lora, Settings
from superb_notebook.experiment import ExperimentFailed, FederatedExperiment, Records
from superb_notebook.history import EVENTS
from superb_notebook.monitor import follow
from superb_notebook.sweep import NOT_WATCHED, sweep
from superb_notebook.tracking.backends import RUN_DIR, TRACK, TrackingError, backends_of
from superb_notebook.tracking.points import read
from tests.support.event_files import (
    tensorboard_scalars,
    tensorboard_texts,
    wandb_history,
    wandb_records,
    wandb_values,
)
from tests.support.lab import wait_until
from tests.workspace.experiment_records import ENVOYS, LABELS, card, record, two_rounds

ROOT = Path(__file__).resolve().parents[4]
SETTINGS = Settings(rounds=2, tuning=Lora(rank=4), experiment_name="mine", test_data="/home/me/clips")
NEWS = [
    record(1, "env_two", "dropped", "sends no heartbeat", 0),
    record(1, "aggregator", "privacy", "epsilon", 2.5),
]
NOT_THERE = "requirements-extra.txt is not installed"
SERVER_SECONDS = 180  # it makes its database, and imports for long on a busy machine


@pytest.fixture(autouse=True)
def nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    own = (TRACK, RUN_DIR, "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME")
    for name in os.environ:
        if name in own or name.startswith("WANDB_"):
            monkeypatch.delenv(name)


def everything() -> list[dict[str, Any]]:
    return sorted([*two_rounds(), *NEWS], key=lambda each: int(each["round"]))


def records(stream: Iterable[dict[str, Any]] | None = None, name: str = "mine") -> Records:
    """Return them as an experiment's, without a federation."""
    experiment = FederatedExperiment(SimpleNamespace(), name)
    experiment.settings = SETTINGS
    return Records(experiment, iter(everything() if stream is None else stream))


def expected() -> dict[str, dict[int, Any]]:
    """Every number of the experiment, by name and step."""
    found: dict[str, dict[int, Any]] = {}
    for each in everything():
        if each["task_name"] not in EVENTS:
            point = read(each)
            found.setdefault(point.name, {})[point.step] = pytest.approx(point.value)
    return found


# TensorBoard --------------------------------------------------------------------------------------------


def test_every_number_and_event_is_in_the_event_file(tmp_path: Path) -> None:
    follow(records(), 2, ENVOYS, plot=False, track="tensorboard", run_dir=tmp_path)
    assert tensorboard_scalars(tmp_path / "tensorboard" / "mine") == expected()
    settings, event, outcome = tensorboard_texts(tmp_path)
    assert settings[0] == "settings" and '"tuning.rank": 4' in settings[2]
    assert "/home/me" not in settings[2], "a folder of the notebook's machine"
    assert event == ("events", 1, "env_two dropped out: sends no heartbeat")
    assert outcome == ("outcome", 0, "finished")


def test_tensorboard_reads_it(tmp_path: Path) -> None:
    event_accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason=NOT_THERE,
    )
    follow(records(), 2, ENVOYS, plot=False, track="tensorboard", run_dir=tmp_path)
    shown = event_accumulator.EventAccumulator(str(tmp_path / "tensorboard" / "mine")).Reload()
    assert {
        name: {each.step: each.value for each in shown.Scalars(name)} for name in shown.Tags()["scalars"]
    } == expected()


def test_records_are_written_while_the_experiment_runs(tmp_path: Path) -> None:
    def slowly() -> Iterator[dict[str, Any]]:
        yield record(0, "env_one", "train", "loss", 0.5)
        give_up_at = time.monotonic() + 20
        while not tensorboard_scalars(tmp_path):
            assert time.monotonic() < give_up_at, "the first record was not written"
            time.sleep(0.05)
        yield from two_rounds()

    follow(records(slowly()), 2, ENVOYS, plot=False, track="tensorboard", run_dir=tmp_path)


def test_watching_again_replaces_the_files(tmp_path: Path) -> None:
    for _ in range(2):
        follow(records(), 2, ENVOYS, plot=False, track="tensorboard", run_dir=tmp_path)
    follow(records(name="another"), 2, ENVOYS, plot=False, track="tensorboard", run_dir=tmp_path)
    assert sorted(path.parent.name for path in tmp_path.rglob("events.out.*")) == ["another", "mine"]


def test_the_variables_say_it_for_a_notebook_that_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TRACK, "tensorboard")
    monkeypatch.setenv(RUN_DIR, str(tmp_path))
    follow(records(), 2, ENVOYS, plot=False)
    assert tensorboard_scalars(tmp_path) == expected()
    monkeypatch.setenv(RUN_DIR, str(tmp_path / "second"))
    follow(records(), 2, ENVOYS, plot=False, track="")
    assert not (tmp_path / "second").exists()


def test_by_itself_an_experiment_has_a_folder_in_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "workspace").mkdir()
    monkeypatch.chdir(tmp_path / "workspace")
    follow(records(), 2, ENVOYS, plot=False, track="tensorboard")
    assert tensorboard_scalars(tmp_path / "runs" / "mine" / "tensorboard" / "mine")


def test_a_model_in_a_folder_is_told_by_its_name_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own-model").mkdir()
    stream = records()
    stream.experiment.settings = Settings(model=str(tmp_path / "own-model"))
    follow(stream, 2, ENVOYS, plot=False, track="tensorboard", run_dir=tmp_path)
    told = tensorboard_texts(tmp_path)[0][2]
    assert '"model": "own-model"' in told and str(tmp_path) not in told


@pytest.mark.parametrize(
    ("error", "outcome"), [(ExperimentFailed("gone"), "failed"), (KeyboardInterrupt(), "no longer watched")]
)
def test_the_outcome_is_written_however_it_ends(tmp_path: Path, error: BaseException, outcome: str) -> None:
    def ending() -> Iterator[dict[str, Any]]:
        yield record(0, "env_one", "train", "loss", 0.5)
        raise error

    with pytest.raises(type(error)):
        follow(records(ending()), 2, ENVOYS, plot=False, track="tensorboard", run_dir=tmp_path)
    assert tensorboard_texts(tmp_path)[-1] == ("outcome", 0, outcome)


class WatchedInVain:
    """Stands in for a federation whose director runs every experiment; who follows one is interrupted."""

    @property
    def dir_client(self) -> WatchedInVain:
        return self

    def get_shard_registry(self) -> dict[str, Any]:
        described = SimpleNamespace(shard_description=json.dumps(card()))
        return {name: {"is_online": True, "shard_info": described} for name in ENVOYS}

    def get_experiment_status(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(experiment_status="in_progress")

    def stream_metrics(self, name: str) -> Iterator[dict[str, Any]]:
        yield record(0, "env_one", "train", "loss", 0.5)
        raise KeyboardInterrupt


def test_an_interrupted_sweep_says_that_it_is_no_longer_watched(tmp_path: Path) -> None:
    settings = Settings(rounds=2, experiment_name="cut", runs_dir=str(tmp_path))
    result = sweep(WatchedInVain(), settings, LABELS, track="tensorboard", strategy=["fedavg", "median"])
    assert [run.failure for run in result.runs] == [NOT_WATCHED] * 2
    assert tensorboard_texts(tmp_path)[-1] == ("outcome", 0, "no longer watched")


# What is asked for --------------------------------------------------------------------------------------


def test_names_with_commas() -> None:
    assert backends_of("") == backends_of(" ") == []
    assert backends_of("tensorboard, tensorboard") == ["tensorboard"]


@pytest.mark.parametrize("track", ["board", "tensorboard,", ",", "tensorboard;wandb"])
def test_another_name_is_refused_in_one_line(track: str) -> None:
    with pytest.raises(
        TrackingError, match=r"^track=.*: legal values are tensorboard, mlflow, wandb, or several"
    ):
        follow(records(), 2, ENVOYS, plot=False, track=track)


WITHOUT = """
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name in ("mlflow", "wandb") else PathFinder.find_spec(name, path, target)

sys.meta_path[:] = [Without if finder is PathFinder else finder for finder in sys.meta_path]
from superb_notebook.tracking.backends import backends_of
from superb_notebook.monitor import follow
print(backends_of("tensorboard"), "superb_notebook.tracking.tensorboard_run" in sys.modules)
backends_of("tensorboard,{name}")
"""


@pytest.mark.parametrize(("name", "package"), [("mlflow", "mlflow-skinny"), ("wandb", "wandb")])
def test_a_library_that_is_not_there_is_named_with_the_command(name: str, package: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT.replace("{name}", name)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "workspace"), str(ROOT / "node")])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.stdout == "['tensorboard'] False\n", "nothing is imported that is not asked for"
    line = ended.stderr.rstrip().rpartition("\n")[2]
    command = f"{sys.executable} -m pip install {package}"
    assert line.endswith(f"track=tensorboard,{name}: {name} is not installed; {command}")


# W&B ----------------------------------------------------------------------------------------------------


def test_every_number_and_event_is_in_wandbs_offline_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason=NOT_THERE)
    monkeypatch.setenv("WANDB_MODE", "offline")
    follow(records(), 2, ENVOYS, plot=False, track="wandb", run_dir=tmp_path)
    # Its own process writes the file.
    wait_until(lambda: any(each.HasField("exit") for each in wandb_records(tmp_path)), 60)
    assert wandb_history(tmp_path) == expected()
    summary, config = wandb_values(tmp_path, "summary"), wandb_values(tmp_path, "config")
    assert summary["events"] == "round 1: env_two dropped out: sends no heartbeat\n"
    assert summary["outcome"] == "finished"
    assert (config["tuning.rank"], config["strategy.name"]) == (4, "fedavg")
    runs = [each.run for each in wandb_records(tmp_path) if each.HasField("run")]
    assert {(run.project, run.display_name) for run in runs} == {("superb-ks", "mine")}
    assert "/home/me" not in "".join(str(each) for each in wandb_records(tmp_path))


def test_wandb_without_an_account_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb", reason=NOT_THERE)
    wandb.teardown()  # forgets the mode of the test before
    monkeypatch.setenv("HOME", str(tmp_path))  # where it would find a key
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(TrackingError, match=r"^wandb cannot begin a run: .*\Z") as told:
        follow(records(), 2, ENVOYS, plot=False, track="wandb", run_dir=tmp_path)
    assert "\n" not in str(told.value)


# MLflow -------------------------------------------------------------------------------------------------


def test_mlflow_without_a_server_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow", reason=NOT_THERE)
    with pytest.raises(TrackingError, match=r"^mlflow cannot begin a run: set MLFLOW_TRACKING_URI to your"):
        follow(records(), 2, ENVOYS, plot=False, track="mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_ports(1)[0]}")
    with pytest.raises(TrackingError, match=r"^mlflow cannot begin a run: .*Connection refused.*\Z"):
        follow(records(), 2, ENVOYS, plot=False, track="mlflow")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A real MLflow server on SQLite; its address and its process."""
    for library in ("mlflow", "flask", "flask_cors", "sqlalchemy", "alembic", "aiohttp"):
        pytest.importorskip(library, reason=NOT_THERE)
    import requests

    folder = tmp_path_factory.mktemp("mlflow")
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(port)]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        str(folder),
    ]
    variables = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **variables},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    address, give_up_at = f"http://127.0.0.1:{port}", time.monotonic() + SERVER_SECONDS
    try:
        while True:
            assert process.poll() is None and time.monotonic() < give_up_at, (folder / "log").read_text()
            try:
                if requests.get(f"{address}/health", timeout=5).ok:
                    break
            except requests.RequestException:
                time.sleep(0.3)
        yield address, process
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.slow
def test_every_number_and_event_is_on_the_mlflow_server(
    server: tuple[str, subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", server[0])
    follow(records(), 2, ENVOYS, plot=False, track="mlflow")
    client = mlflow.MlflowClient(server[0])
    (run,) = client.search_runs([client.get_experiment_by_name("superb-ks").experiment_id])
    assert (run.info.run_name, run.info.status) == ("mine", "FINISHED")
    assert {
        name: {each.step: each.value for each in client.get_metric_history(run.info.run_id, name)}
        for name in run.data.metrics
    } == expected()
    assert run.data.tags["events"] == "round 1: env_two dropped out: sends no heartbeat\n"
    assert run.data.params["tuning.rank"] == "4" and "test_data" not in run.data.params


@pytest.mark.slow
def test_a_server_that_dies_leaves_the_experiment_and_the_other_backend_alone(
    server: tuple[str, subprocess.Popen[bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server[0])

    def killing() -> Iterator[dict[str, Any]]:
        stream = iter(everything())
        yield next(stream)
        os.killpg(server[1].pid, 9)
        server[1].wait()
        yield from stream

    with caplog.at_level(logging.WARNING, "superb_notebook.tracking.writing"):
        history = follow(
            records(killing()), 2, ENVOYS, plot=False, track="mlflow,tensorboard", run_dir=tmp_path
        )
    assert history.test is not None
    assert tensorboard_scalars(tmp_path) == expected()
    (told,) = [each.getMessage() for each in caplog.records if "superb_notebook" in each.name]
    assert told.startswith("mlflow gets no more records, the experiment goes on: ")
