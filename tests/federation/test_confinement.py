"""What the code of an experiment can do on a real envoy, and that it can be ended in the middle of a task."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from openfl.interface.interactive_api.experiment import TaskInterface

from superb_ks.settings import Failures
from superb_node.envoy import confinement, guard, landlock
from superb_node.envoy.personal import PERSONAL_FOLDER, keep
from superb_notebook.connect import connect
from superb_notebook.experiment import FederatedExperiment
from tests.support.experiments import experiment_text
from tests.support.lab import Lab, Outcome, at, follow, wait_until
from tests.support.sine_experiment import Script, sine_model, sine_shard, tasks_that

pytestmark = pytest.mark.federation


@pytest.fixture(scope="module")
def lonely(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One envoy, whose owner has a secret in its environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_TOKEN", "hf_secret")
        with Lab(tmp_path_factory.mktemp("lonely"), envoys=1) as lab:
            yield lab


def nosy_tasks(paths: list[str], ports: list[int]) -> TaskInterface:
    """Tasks that report 1.0 for each thing that they could do."""

    def tell() -> dict[str, float]:
        def tried(do) -> float:
            try:
                do()
            except OSError:
                return 0.0
            return 1.0

        service = psutil.Process().parents()[2].pid  # beyond guard and template
        told = {f"read {i}": tried(lambda path=path: Path(path).read_bytes()) for i, path in enumerate(paths)}
        told |= {
            f"write {i}": tried(lambda path=path: Path(path, "new").write_text("x"))
            for i, path in enumerate(paths)
        }
        told |= {
            f"call {i}": tried(lambda port=port: socket.create_connection(("localhost", port)).close())
            for i, port in enumerate(ports)
        }
        told["read the service's environment"] = tried(lambda: Path(f"/proc/{service}/environ").read_text())
        told["read own folder"] = tried(lambda: os.listdir(os.getcwd()))
        told["write own folder"] = tried(lambda: Path("new").write_text("x"))
        told["knows the token"] = float(
            "hf_secret" in str(os.environ) + Path("/proc/self/environ").read_text()
        )
        told["signal the service"] = tried(lambda: os.kill(service, 0))
        return {**told, "accuracy": 1.0, "loss": 1.0, "clips": 1}

    return tasks_that(tell)


def told(outcome: Outcome) -> dict[str, float]:
    assert outcome.status == "finished", outcome.error
    return {r["metric_name"]: r["metric_value"] for r in outcome.of("train", "env_one")}


@pytest.mark.skipif(landlock.abi() < 6, reason="Landlock 6 is the first that knows files, TCP and signals")
def test_an_experiment_reaches_its_own_folder_and_its_aggregator(lonely: Lab, tmp_path: Path) -> None:
    envoy = lonely.nodes_dir / "env_one"
    (tmp_path / "x").touch()
    paths = [
        envoy / "envoy_config.yaml",
        envoy / "start_envoy.sh",
        lonely.logs_dir / "env_one.log",
        "/etc/shadow",
    ]
    folders = [envoy, envoy / "work", envoy / "approval", tmp_path, Path.home(), Path(sys.prefix)]
    own = envoy / PERSONAL_FOLDER / "env_one" / "ks-1.npz"
    keep(own, experiment_text(), np.zeros(1, np.float32))
    paths += [own]
    places = list(map(str, [*paths, *folders, tmp_path / "x"]))
    experiment = FederatedExperiment(connect(lonely.settings(rounds=1)), lonely.new_name())
    with socket.create_server(("localhost", 0)) as server:
        experiment.start(
            model=sine_model(Script()),
            tasks=nosy_tasks(places, [server.getsockname()[1]]),
            shard=sine_shard(Script()),
            settings=lonely.settings(rounds=1),
        )
        could = {name for name, value in told(follow(experiment)).items() if value == 1.0}
    assert could - {"accuracy", "loss", "clips"} == {"read own folder", "write own folder"}
    assert f"Authors' code runs in processes of its own; {confinement.possible()}" in lonely.log("env_one")


def family(lab: Lab) -> list[psutil.Process]:
    service = psutil.Process(lab.processes["env_one"].pid)
    return [service, *service.children(recursive=True)]


def test_stop_ends_a_task_in_the_middle(lonely: Lab) -> None:
    experiment = lonely.submit(Script(seconds={1: 120.0}), rounds=2)

    def stop() -> None:
        time.sleep(1)  # the long task has begun
        experiment.stop()

    outcome = follow(experiment, (at(0, "env_one", "validate"), stop))
    assert outcome.status == "stopped"
    wait_until(lambda: len(family(lonely)) == 2, 15)  # service and template
    assert lonely.run(rounds=1).status == "finished"


def test_an_envoys_memory_is_what_it_was_before_an_experiment(lonely: Lab) -> None:
    assert lonely.run(rounds=1).status == "finished"

    def megabytes() -> float:
        wait_until(lambda: len(family(lonely)) == 2, 15)
        return sum(process.memory_info().rss for process in family(lonely)) / 2**20

    before = megabytes()
    assert lonely.run(Script(ballast=20_000_000), rounds=1).status == "finished"  # 80 MB of weights
    assert megabytes() - before < 5


def test_an_envoy_that_is_killed_in_a_task_leaves_no_process(tmp_path: Path) -> None:
    with Lab(tmp_path, envoys=1) as lab:
        experiment = lab.submit(Script(seconds={1: 120.0}), rounds=1)
        wait_until(lambda: len(family(lab)) == (4 if guard.possible() else 3), 30)
        started = family(lab)
        started[0].kill()
        _, alive = psutil.wait_procs(started, timeout=5)
        assert alive == []
        experiment.stop()


def test_what_is_left_of_a_stopped_run_has_no_say_in_the_one_that_resumes_it(tmp_path: Path) -> None:
    """An envoy that slept meanwhile is told that its task is over; that it fails counts no more."""
    with Lab(tmp_path, envoys=2) as lab:
        script = Script(seconds={2: 8.0}, raises={2: (0,)})
        stopped = lab.submit(script, name="again", rounds=20)
        wait_until(lambda: "round 0, train" in lab.log("env_two"), 40)
        asleep = psutil.Process(lab.processes["env_two"].pid)
        asleep.suspend()
        stopped.stop()
        assert follow(stopped).status == "stopped"
        limit = Failures(round_timeout_seconds=30.0)
        resumed = lab.submit(Script(seconds={1: 0.5}), name="again", rounds=20, resume=True, failures=limit)
        asleep.resume()
        outcome = follow(resumed)
        assert outcome.status == "finished", outcome.error
        assert outcome.rounds("train", "env_two") != []


def forging_tasks(word: bytes) -> TaskInterface:
    """Tasks that print much, say what a worker says at its end, and end at once."""

    def tell() -> dict[str, float]:
        for _ in range(200):
            os.write(1, b"z" * 1_900 + b"\n")
        for handle in range(3, 64):
            with contextlib.suppress(OSError):
                if stat.S_ISFIFO(os.fstat(handle).st_mode):
                    os.write(handle, word)
        os._exit(0)

    return tasks_that(tell)


def test_who_ends_at_once_is_not_started_at_once_again(lonely: Lab) -> None:
    name = lonely.new_name()
    experiment = FederatedExperiment(connect(lonely.settings(rounds=1)), name)
    experiment.start(
        model=sine_model(Script()),
        tasks=forging_tasks(b"done"),
        shard=sine_shard(Script()),
        settings=lonely.settings(rounds=1),
    )
    try:
        wait_until(lambda: f"INFO    Experiment {name}\n" in lonely.log("env_one"), 30)
        time.sleep(8)
    finally:
        experiment.stop()
    said = lonely.log("env_one")
    assert 2 <= said.count(f"INFO    Experiment {name}\n") <= 5
    assert len(said[said.index(f"INFO    Experiment {name}\n") :]) < 1_100_000
    assert lonely.run(rounds=1).status == "finished"


def test_a_task_that_ends_its_process_has_failed(lonely: Lab) -> None:
    experiment = FederatedExperiment(connect(lonely.settings(rounds=1)), lonely.new_name())
    experiment.start(
        model=sine_model(Script()),
        tasks=forging_tasks(b""),
        shard=sine_shard(Script()),
        settings=lonely.settings(rounds=1),
    )
    outcome = follow(experiment)
    assert outcome.status == "failed"
    assert "the process of the experiment ended before its work was done" in outcome.error
