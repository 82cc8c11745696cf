"""`make simulate`: what it refuses, what it leaves, and what it does not."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
from flwr.app import Context, RecordDict
from rich.console import Console
from superb_flower import client

import simulation.__main__
import speech_commands.shard
from demo.envoy_config import set_shard_params
from demo.errors import DemoError
from demo.process import ServiceProcess
from demo.run_folder import RunFolder
from simulation.engine import Engine
from simulation.options import Options, parse_options
from simulation.progress import RunningHistory
from simulation.results import PLOT
from superb_ks.run_files import RECORDS
from superb_node.envoy import threads
from superb_node.shard_card import read_card
from superb_notebook.history import History
from tests.flower.conftest import app_defaults, left
from tests.support.lab import wait_until
from tests.workspace.experiment_records import two_rounds

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "speech_commands_v0.01"
KEPT = {"learning.png", "logs", "model", "summary.json"}


def start(project: Path, archive: Path, *options: str, **variables: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "simulation", "--clients=6", "--fraction=0.5", "--epochs=1"]
    return subprocess.Popen(
        [*command, f"--data={archive}", *options],
        cwd=project,
        env={**os.environ, "HOME": str(project), "OMP_NUM_THREADS": "1", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def endless(project: Path, archive: Path) -> subprocess.Popen[str]:
    """Start a simulation, and wait until it has records."""
    process = start(project, archive, "--rounds=1000")
    records = f".partial-*/nodes/output/{RECORDS}"
    while process.poll() is None and not any(p.stat().st_size for p in (project / "runs").glob(records)):
        time.sleep(0.2)
    assert process.poll() is None
    return process


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--clients=0", "CLIENTS=0: legal values are whole numbers from 1 to 10000"),
        ("--fraction=1.5", "FRACTION=1.5: legal values are numbers above 0, up to 1"),
        ("--evaluate=0", "EVALUATE=0: legal values are numbers above 0, up to 1"),
        ("--epochs=x", "EPOCHS=x: legal values are whole numbers from 1 to 100"),
        ("--partition=word", "PARTITION=word: legal values are iid, speaker"),
        ("--strategy=best", "STRATEGY=best: legal values are fedavg"),
        ("--data=/nowhere", "DATA=/nowhere: no such folder"),
    ],
)
def test_bad_values_are_one_line(option: str, words: str) -> None:
    command = [sys.executable, "-m", "simulation", option]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"simulate: {words}")
    assert len(done.stderr.splitlines()) == 1


def test_empty_options_are_the_defaults() -> None:
    options = parse_options(["--clients=", "--rounds=", "--partition=", "--epochs="])
    assert (options.clients, options.settings.rounds, options.partition) == (200, 20, "speaker")
    assert options.run_config["min-shard"] == 0
    assert options.speakers == 200


@pytest.mark.parametrize(
    ("given", "cores", "workers"),
    [
        ({}, 8, 8),
        ({"fraction": 0.01, "evaluate": 0.02}, 8, 4),
        ({"fraction": 0.02, "evaluate": 0.01}, 8, 4),
        ({"clients": 2}, 8, 2),
        ({}, 32, 32),
        ({}, 48, 24),
        ({}, 64, 32),
    ],
)
def test_there_are_as_many_workers_as_clients_and_flower_can_keep_busy(
    given: dict[str, float], cores: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simulation.engine.usable_cores", lambda: cores)
    assert parse_options([f"--{name}={value}" for name, value in given.items()]).workers == workers


@pytest.mark.parametrize("error", [None, KeyError("mine")])
def test_what_cannot_be_killed_is_named(
    error: KeyError | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Something that no signal ends: the number is larger than a process can have."""
    monkeypatch.setattr("simulation.guard.KILL_SECONDS", 1.0)
    monkeypatch.setattr("simulation.guard.groups_of", lambda folder: {2**22 + 1})
    engine = Engine(tmp_path, tmp_path, 1, 1)
    engine._ray = tmp_path / "ray"
    engine._ray.mkdir()

    def leave() -> None:
        with engine:
            if error is not None:
                raise error

    with pytest.raises(DemoError if error is None else KeyError) as raised:
        leave()
    told = str(raised.value) if error is None else capsys.readouterr().err
    assert "these process groups did not end in 1 s: [4194305]" in told
    assert not engine._ray.exists()


# It starts something, says where Ray would work, and ends in no orderly way.
KILLED = """
import os, signal, sys, time
from pathlib import Path
from simulation.engine import Engine
engine = Engine(Path(sys.argv[1]), Path(sys.argv[1]), 1, 1)
engine._start("run", "python3", "-c", "import time; time.sleep(600)")
while not engine.groups:
    time.sleep(0.1)
print(engine._ray, engine.processes["run"].pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_nothing_outlives_the_owner_of_an_engine(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, tmp_path], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert done.returncode == -signal.SIGKILL
    folder, started = done.stdout.split()
    wait_until(lambda: not Path(folder).exists() and not psutil.pid_exists(int(started)), 60)


def test_ray_that_does_not_start_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(engine: Engine, name: str, *_: str) -> None:
        command = ["sh", "-c", "echo its last words; sleep 600"]
        engine.processes[name] = ServiceProcess(name, command, tmp_path, os.environ, tmp_path / "ray.log")

    monkeypatch.setattr(Engine, "_start", start)
    monkeypatch.setattr("simulation.engine.RAY_SECONDS", 1.0)
    with (
        pytest.raises(DemoError, match="Ray was not ready after 1 s; the end of its log:\nits last words"),
        Engine(tmp_path, tmp_path, 1, 1) as engine,
    ):
        engine.serve(1024)
    assert engine.processes["ray"].exit_code() == -signal.SIGTERM


def test_the_plot_is_drawn_while_a_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its first round; not again in the next ten seconds."""
    folder, written = RunFolder(tmp_path), []

    def run_in_child(options: Options, at: Path, follow: Callable[[RunningHistory], None]) -> History:
        run = RunningHistory(at / "output", 2)
        for done in (0, 1, 2):
            for record in (each for each in two_rounds() if each["round"] == done - 1):
                run.history.add(record)
            follow(run)
            written.append((at / PLOT).read_bytes() if (at / PLOT).exists() else b"")
        return run.history

    monkeypatch.setattr("simulation.__main__.ROOT", tmp_path)
    monkeypatch.setattr("simulation.__main__.run_in_child", run_in_child)
    monkeypatch.setattr("simulation.results.keep", lambda *_: None)
    said = io.StringIO()
    simulation.__main__._run(Options(data_dir=tmp_path), folder, Console(file=said, width=200))
    assert written[0] == b""
    assert written[1].startswith(b"\x89PNG")
    assert written[2] == written[1]
    assert (
        f"{folder.path.relative_to(tmp_path)}/learning.png shows from the first round on" in said.getvalue()
    )


def test_the_corpus_is_indexed_once_a_worker(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    def opens(*given: object) -> object:
        opened.append(given)
        return open_corpus(*given)

    open_corpus = speech_commands.shard.open_corpus
    monkeypatch.setattr(speech_commands.shard, "open_corpus", opens)
    run = {**app_defaults(), **parse_options([f"--data={archive}"]).run_config}
    cards = []
    for number in (*range(6), *range(6)):
        node = {"partition-id": number, "num-partitions": 6}
        context = Context(run_id=1, node_id=1, node_config=node, state=RecordDict(), run_config=run)
        cards.append(read_card(client.Client.of(context).card, trains=False))
    assert len(opened) == 1
    assert sorted(sum(card["speakers"].values()) for card in cards) == [1] * 12
    lacking = [sum(card["clips"]["train"].values()) == 0 for card in cards]
    assert lacking == [False, False, False, False, True, True] * 2, "who validates or tests alone takes part"


def test_the_owners_folders_are_not_those_of_a_simulation(archive: Path, tmp_path: Path) -> None:
    """What the owner's file names goes with its own source; an empty test-dir is the one next to data-dir."""
    for name in ("superb_shard_descriptor.py", "speech_commands"):
        (tmp_path / name).symlink_to(ROOT / "envoy" / name)
    shutil.copy(ROOT / "envoy" / "envoy_config.yaml", tmp_path)
    set_shard_params(
        tmp_path / "envoy_config.yaml", {"source": "folder", "data_dir": "/owners", "test_dir": "/owners"}
    )
    given = parse_options([f"--data={archive}"]).run_config
    assert given.pop("test-dir")
    run = {**app_defaults(), **given, "envoy-folder": str(tmp_path)}
    node = {"partition-id": 0, "num-partitions": 6}
    context = Context(run_id=1, node_id=1, node_config=node, state=RecordDict(), run_config=run)
    card = read_card(client.Client.of(context).card, trains=False)
    assert (card["source"], sum(card["speakers"].values())) == ("folder", 1)


def test_the_supernodes_of_a_machine_share_its_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their command lines count; the script only waits."""
    monkeypatch.setattr(threads, "usable_cores", lambda: 6)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    script = tmp_path / "flower-supernode"
    script.write_text("import sys; print('up', flush=True); sys.stdin.read()")
    node = {"name": "env_1", "envoy-config": str(ROOT / "envoy" / "envoy_config.yaml")}
    started, before = [], torch.get_num_threads()

    def threads_with(**more: str) -> int:
        client.Client.of(
            Context(run_id=1, node_id=1, node_config={**node, **more}, state=RecordDict(), run_config={})
        )
        return torch.get_num_threads()

    try:
        for name in ("env_1", "env_2"):
            command = [sys.executable, script, "--superlink=[::1]:9092", f'--node-config=name="{name}"']
            started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        for process in started:
            assert process.stdout.readline() == b"up\n"
        assert threads_with(superlink="[::1]:9092") == 3
        assert threads_with(superlink="[::1]:9093") == 6
        assert threads_with(superlink="localhost:9092") == 3
        assert threads_with() == 6
    finally:
        torch.set_num_threads(before)
        for process in started:
            process.kill()
            process.communicate()


@pytest.mark.federation
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_run_leaves_its_results_and_the_same_model_twice(project: Path, archive: Path) -> None:
    """The second time without OpenFL, which nothing on Flower needs but the notebooks."""
    digests = set()
    without = project / "without" / "openfl.py"
    without.parent.mkdir()
    without.write_text("raise ModuleNotFoundError('OpenFL is not there')\n", encoding="utf-8")
    for variables in ({}, {"PYTHONPATH": str(without.parent)}):
        process = start(project, archive, "--rounds=2", **variables)
        output, _ = process.communicate()
        assert process.returncode == 0, output
        run = (project / "runs" / "latest").resolve()
        assert {path.name for path in run.iterdir()} == KEPT
        summary = json.loads((run / "summary.json").read_text())
        assert (summary["engine"], summary["clients"], summary["fraction"]) == ("flower", 6, 0.5)
        assert summary["clients_with_clips"] == {"train": 4, "val": 1, "test": 1}
        assert [row["round"] for row in summary["rounds"]] == [1, 2]
        assert "Recipe: 1 epoch a round, batches of 8, " in output
        assert "Test accuracy on 11 clips" in output
        card = (run / "model" / "README.md").read_text()
        assert "- flower\n" in card and ", flwr 1." in card
        digests.add(hashlib.sha256((run / "model" / "model.safetensors").read_bytes()).hexdigest())
        assert left(project) == []
    assert len(digests) == 1


@pytest.mark.federation
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("tuning", ["head", "lora"])
def test_real_recordings_and_other_tunings(project: Path, archive: Path, tuning: str) -> None:
    """The clips are those of ../shared, where they are; `docs/simulation.md` has their numbers."""
    clients, having = 6, {"train": 4, "val": 1, "test": 1}
    if SHARED.is_dir():
        archive, clients, having = SHARED, 254, {"train": 162, "val": 41, "test": 51}
    options = [f"--clients={clients}", f"--tuning={tuning}", "--rounds=1", "--fraction=0.02", "--epochs=1"]
    process = start(project, archive, *options)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    summary = json.loads((project / "runs" / "latest" / "summary.json").read_text())
    assert (summary["data"], summary["tuning"], summary["clients"]) == ("folder", tuning, clients)
    assert summary["clients_with_clips"] == having
    # A head, or adapters and a head, are a small part of the tiny model's six megabytes.
    assert 0 < summary["bytes_up_per_envoy_round"] < 1_000_000
    assert left(project) == []


@pytest.mark.federation
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_interrupted_run_leaves_nothing(project: Path, archive: Path) -> None:
    process = endless(project, archive)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate()
    assert process.returncode == 130, output
    assert "nothing is left behind" in output
    assert list((project / "runs").iterdir()) == []
    assert left(project) == []


@pytest.mark.federation
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nothing_outlives_a_killed_run(project: Path, archive: Path) -> None:
    process = endless(project, archive)
    family = psutil.Process(process.pid).children(recursive=True)
    assert left(project)
    process.kill()
    process.communicate()
    assert psutil.wait_procs(family, timeout=60)[1] == []
    wait_until(lambda: left(project) == [], 60)


@pytest.mark.federation
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_more_clients_than_speakers_are_refused_in_a_line(project: Path, archive: Path) -> None:
    process = start(project, archive, "--clients=7")
    output, _ = process.communicate()
    assert process.returncode == 1
    lines = output.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("simulate: "))
    reason, logs = lines[first:]
    assert "gets no clip by partition 'speaker'" in reason
    assert logs.startswith("simulate: failed; the logs are in ")
    assert left(project) == []
