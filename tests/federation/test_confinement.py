"""What the code of an experiment can do on a real envoy, and that it can be ended in the middle of a task."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from openfl.interface.interactive_api.experiment import TaskInterface

from superb_node.envoy import confinement, landlock
from superb_notebook.connect import connect
from superb_notebook.experiment import FederatedExperiment
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

        service = psutil.Process(os.getppid()).ppid()
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
        wait_until(lambda: len(family(lab)) == 3, 30)
        started = family(lab)
        started[0].kill()
        _, alive = psutil.wait_procs(started, timeout=5)
        assert alive == []
        experiment.stop()
