"""Flower's deployment engine: a SuperLink and SuperNodes as processes that talk over the loopback device."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from benchmarks.transport.engine import EngineFailed, Run, fair_environment, run_notebook
from benchmarks.transport.job import Job
from demo.ports import free_ports
from demo.process import ServiceProcess, stop_all
from superb_node.flower.cli import KEEPS_TO_ITSELF, SUPERLINK, superlink_config
from superb_node.flower.launch import program

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 120.0


def run(job: Job, run_dir: Path, limit_seconds: float) -> Run:
    """Do a job once with the deployment engine and measure it.

    Raises:
        ConfigError: Flower is not installed.
        EngineFailed: a part of Flower ended with an error.
    """
    port, *node_ports = free_ports(1 + job.clients)
    environment = prepare(run_dir, port)
    link = ["--insecure", "--disable-runtime-dependency-installation", "--port", str(port)]
    commands = {"superlink": [str(program("flower-superlink")), *link]}
    for rank, node_port in enumerate(node_ports, start=1):
        node = ["--insecure", "--superlink", f"127.0.0.1:{port}", "--port", str(node_port)]
        commands[f"supernode-{rank}"] = [str(program("flower-supernode")), *node]
    with services(commands, port, run_dir, environment) as pids:
        roles = {name: "server" if name == "superlink" else "client" for name in pids}
        return submit(job, run_dir, environment, pids, roles, limit_seconds)


def submit(
    job: Job,
    run_dir: Path,
    environment: dict[str, str],
    pids: dict[str, int],
    roles: dict[str, str],
    limit_seconds: float,
    *further: str,
) -> Run:
    """Run the app on a SuperLink that is up, with further options of `flwr run`."""
    events = run_dir / "events.jsonl"
    config = f'size="{job.size}" clients={job.clients} rounds={job.rounds} seed={job.seed} events="{events}"'
    app = str(run_dir / "app")
    command = [str(program("flwr")), "run", app, SUPERLINK, "--stream", "--run-config", config, *further]
    return run_notebook(
        job, command, run_dir, pids, roles, limit_seconds, environment=environment, notes_itself=False
    )


def prepare(run_dir: Path, port: int) -> dict[str, str]:
    """Make the app and the home of Flower, whose SuperLink has `port`; returns its processes' variables."""
    app = run_dir / "app"
    shutil.copytree(
        ROOT / "benchmarks" / "transport" / "flower_app", app, ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(ROOT / "benchmarks" / "transport" / "job.py", app / "transport_app" / "transport_job.py")
    home = run_dir / "flwr"
    home.mkdir()
    (home / "config.toml").write_text(superlink_config(f"127.0.0.1:{port}"), encoding="utf-8")
    return {
        "FLWR_HOME": str(home),
        **KEEPS_TO_ITSELF,
        "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_NUM_THREADS": "1",
        # Flower starts its own programs by name.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": "",
    }


@contextlib.contextmanager
def services(
    commands: dict[str, list[str]], port: int, run_dir: Path, environment: dict[str, str]
) -> Iterator[dict[str, int]]:
    """Start services, the first of which listens on `port`; yields their process ids."""
    variables = {**fair_environment(), **environment}
    logs = run_dir / "logs"
    logs.mkdir()
    started: list[ServiceProcess] = []
    try:
        for name, command in commands.items():
            # In a home that SuperNodes share, one starts an app that another is still unpacking.
            home = run_dir / "flwr" / name
            own = {**variables, "FLWR_HOME": str(home)}
            started.append(ServiceProcess(name, command, run_dir, own, logs / f"{name}.log"))
            wait_for_port(port, started[0])
        yield {process.name: process.pid for process in started}
    finally:
        stop_all(started)
        end_leftovers(environment["FLWR_HOME"])


def wait_for_port(port: int, process: ServiceProcess) -> None:
    """Return when something listens on a port of this machine.

    Raises:
        EngineFailed: the process ended, or it took too long.
    """
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.exit_code() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise EngineFailed(f"{process.name} does not listen on port {port}:\n{process.log_tail()}")


def end_leftovers(home: str) -> None:
    """Kill processes with a Flower home in this one that left their process group (Ray's do)."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("FLWR_HOME", "").startswith(home):
                process.send_signal(signal.SIGKILL)
