"""The app on a real SuperLink and two SuperNodes, by the scripts of director and envoy."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from certificates.federation import make_certificates
from demo.envoy_config import set_shard_params
from demo.ports import free_ports
from demo.process import ServiceProcess, stop_all
from speech_commands.synthetic.corpus import write_corpus
from speech_commands.synthetic.script import Size
from superb_node.names import envoy_name
from superb_node.work_folder import OF_ONE_NODE
from tests.support.lab import wait_until

pytest.importorskip("flwr", reason="Flower needs Python 3.11 or later")

# Flower starts a process for each message, which loads PyTorch.
pytestmark = [pytest.mark.federation, pytest.mark.slow, pytest.mark.timeout(1800)]

ROOT = Path(__file__).resolve().parents[2]
FLWR = Path(sysconfig.get_path("scripts"), "flwr")
NODES = [envoy_name(rank) for rank in (1, 2)]
STRANGER, ITS_LABELS = envoy_name(3), ["yes", "no", "_silence_", "_unknown_"]
"""An owner who has chosen other classes."""
SECONDS = 240.0
_NOT_COPIED = shutil.ignore_patterns(*OF_ONE_NODE, "__pycache__")


class Deployment:
    """Certificates, clips, and a copy of the director's folder and of the envoy's for each node."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.services: dict[str, ServiceProcess] = {}
        (self.port,) = free_ports(1)
        make_certificates(folder / "certs", envoys=[*NODES, STRANGER])
        write_corpus(folder, seed=0, size=Size(12, 4, 4, 2, 2, 2))
        shutil.copytree(ROOT / "director", folder / "director", ignore=_NOT_COPIED)
        for rank, name in enumerate((*NODES, STRANGER), start=1):
            shutil.copytree(ROOT / "envoy", folder / name, ignore=_NOT_COPIED)
            shard = {"source": "folder", "data_dir": str(folder / "speech_commands_v0.01")}
            config = folder / name / "envoy_config.yaml"
            if name == STRANGER:
                set_shard_params(config, {**shard, "rank_worldsize": "1, 1", "labels": ITS_LABELS})
            else:
                set_shard_params(config, {**shard, "rank_worldsize": f"{rank}, {len(NODES)}"})
            config.write_text(config.read_text().replace("cpu_threads: null", "cpu_threads: 1"))
        self.home = folder / "home"
        self.home.mkdir()
        root = folder / "certs" / "notebook" / "root_certificate.pem"
        (self.home / "config.toml").write_text(
            f'[superlink.here]\naddress = "localhost:{self.port}"\nroot-certificates = "{root}"\n'
        )

    @property
    def variables(self) -> dict[str, str]:
        own = {"DIRECTOR_PORT": str(self.port), "PYTHON": sys.executable, "FLWR_HOME": str(self.home)}
        quiet = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1", "NO_COLOR": "1"}
        return {**os.environ, **own, **quiet, "PATH": f"{FLWR.parent}{os.pathsep}{os.environ['PATH']}"}

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def start(self, name: str, *command: str, until: str = "") -> ServiceProcess:
        """Start a script in the folder of a node; returns when its log has `until`."""
        log = self.folder / f"{name}.log"
        log.unlink(missing_ok=True)
        service = ServiceProcess(name, ["bash", *command], self.folder / name, self.variables, log)
        self.services[name] = service

        def ready() -> bool:
            service.check()
            return until in self.log(name)

        if until:
            wait_until(ready, SECONDS)
        return service

    def refused(self, name: str, *command: str) -> str:
        """Run a script that Flower must end with an error; returns its log."""
        service = self.start(name, *command)
        wait_until(lambda: service.exit_code() is not None, SECONDS)
        assert service.exit_code() == 1
        return self.log(name)

    def bash(self, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", *command], env=self.variables, capture_output=True, text=True, check=False, **options
        )

    def flower(self, *command: str) -> str:
        result = subprocess.run(
            [FLWR, *command], cwd=self.folder, env=self.variables,
            capture_output=True, text=True, timeout=1200, check=False,
        )  # fmt: skip
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def family(self, name: str) -> list[psutil.Process]:
        """The processes of a service that run, itself included."""
        service = psutil.Process(self.services[name].pid)
        return [p for p in (service, *service.children(recursive=True)) if name_of(p)]


def name_of(process: psutil.Process) -> str:
    """Return the name of a process that runs; empty if it has ended."""
    try:
        return "" if process.status() == psutil.STATUS_ZOMBIE else str(process.name())
    except psutil.NoSuchProcess:
        return ""


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    deployment = Deployment(tmp_path)
    family: list[psutil.Process] = []
    try:
        yield deployment
    finally:
        for name, service in deployment.services.items():
            if service.exit_code() is None:
                family += deployment.family(name)
        stop_all(deployment.services.values())
        for process in psutil.wait_procs(family, timeout=60)[1]:  # a failed test's
            process.kill()


def test_a_run_with_tls_and_registered_nodes(deployment: Deployment, tmp_path: Path) -> None:
    """From strangers that are turned away to the end of everything, in the order of docs/deployment.md."""
    deployment.start("director", "start_superlink_with_tls.sh", "localhost", until="Uvicorn running")
    for name in (*NODES, STRANGER):
        told = deployment.refused(name, "start_supernode_with_tls.sh", name, "localhost")
        assert "] Failed to activate SuperNode" in told
        (command,) = re.findall(r"in place of CONNECTION: (echo .* CONNECTION)$", told, re.MULTILINE)
        command = command.replace("CONNECTION", "here")
        registered = deployment.bash("-c", command, cwd=tmp_path, timeout=60)
        assert registered.returncode == 0, registered.stderr
    plain = deployment.bash("start_supernode.sh", cwd=tmp_path / NODES[0], timeout=60)
    assert plain.stderr == (
        f"supernode: localhost:{deployment.port} is no SuperLink for this SuperNode: "
        "it speaks TLS only, and we speak without\n"
    )
    for name in NODES:
        deployment.start(name, "start_supernode_with_tls.sh", name, "localhost", until="SuperNode ID")

    output = tmp_path / "output"
    run = ("run", str(ROOT / "flower"), "here", "--run-config", f"output='{output}' rounds=1")
    log = deployment.flower(*run, "--stream")
    assert (output / "status").read_text() == "finished", log
    check_records(output)

    deployment.start(STRANGER, "start_supernode_with_tls.sh", STRANGER, "localhost", until="SuperNode ID")
    log = deployment.flower(*run, "--stream")
    assert f"The run has failed: {STRANGER} has the classes {' '.join(ITS_LABELS)}, and env_one has " in log
    assert (tmp_path / "output-2" / "status").read_text() == "failed"
    os.kill(deployment.services[STRANGER].pid, signal.SIGINT)
    wait_until(lambda: deployment.services[STRANGER].exit_code() is not None, 60)
    assert deployment.services.pop(STRANGER).exit_code() == 0

    # One more is under way when everything is told to stop.
    deployment.flower(*run)
    wait_until(lambda: "flwr-clientapp" in map(name_of, deployment.family(NODES[0])), SECONDS)
    family = {name: deployment.family(name) for name in deployment.services}
    for name, signum in (
        ("env_one", signal.SIGINT),
        ("env_two", signal.SIGTERM),
        ("director", signal.SIGINT),
    ):
        os.kill(deployment.services[name].pid, signum)
    everybody = [process for its in family.values() for process in its]
    assert len(everybody) > 2 * len(family)
    # What waits for a connection notices the end of who has started it at its next try, after up to 20 s.
    left = psutil.wait_procs(everybody, timeout=60)[1]
    assert [name_of(process) for process in left] == []
    codes = {name: service.exit_code() for name, service in deployment.services.items()}
    assert codes == {"director": 0, "env_one": 0, "env_two": 0}


def check_records(output: Path) -> None:
    records = [json.loads(line) for line in (output / "records.jsonl").read_text().splitlines()]
    values = {
        (record["round"], record["metric_origin"], record["task_name"], record["metric_name"]): record[
            "metric_value"
        ]
        for record in records
    }
    cards = json.loads((output / "cards.json").read_text())
    assert sorted(cards) == NODES
    for name in NODES:
        assert values[0, name, "train", "clips"] == sum(cards[name]["clips"]["train"].values())
        assert values[2, name, "test_best", "clips"] == sum(cards[name]["clips"]["test"].values())
    assert values[0, "aggregator", "train", "clips"] == sum(values[0, n, "train", "clips"] for n in NODES)
    assert 0 <= values[2, "aggregator", "test_best", "accuracy"] <= 1
