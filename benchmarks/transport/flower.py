"""Flower's deployment engine: a SuperLink and SuperNodes as processes that talk over the loopback device."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from benchmarks.transport.engine import EngineFailed, Run, fair_environment, run_notebook
from benchmarks.transport.job import Job
from demo.ports import free_ports
from demo.process import ServiceProcess, stop_all

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / "build" / "transport" / "flower"
REQUIREMENTS = ("flwr[simulation]==1.41.*", "torch==2.13.*", "transformers>=5.0,<6")
READY_SECONDS = 120.0
CONNECTION = "benchmark"


def run(job: Job, run_dir: Path, limit_seconds: float) -> Run:
    """Do a job once with the deployment engine and measure it.

    Raises:
        EngineFailed: a part of Flower ended with an error.
    """
    environment = prepare(run_dir)
    port, *node_ports = free_ports(1 + job.clients)
    link = ["--insecure", "--disable-runtime-dependency-installation", "--port", str(port)]
    commands = {"superlink": [program("flower-superlink"), *link]}
    for rank, node_port in enumerate(node_ports, start=1):
        node = ["--insecure", "--superlink", f"127.0.0.1:{port}", "--port", str(node_port)]
        commands[f"supernode-{rank}"] = [program("flower-supernode"), *node]
    write_connection(run_dir, f'address = "127.0.0.1:{port}"\ninsecure = true\n')
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
) -> Run:
    """Run the app on a SuperLink that is up."""
    events = run_dir / "events.jsonl"
    config = f'size="{job.size}" clients={job.clients} rounds={job.rounds} seed={job.seed} events="{events}"'
    app = str(run_dir / "app")
    command = [program("flwr"), "run", app, CONNECTION, "--stream", "--run-config", config]
    return run_notebook(
        job, command, run_dir, pids, roles, limit_seconds, environment=environment, notes_itself=False
    )


def prepare(run_dir: Path) -> dict[str, str]:
    """Make virtual environment, app and home of Flower; returns the variables of its processes."""
    make_environment()
    app = run_dir / "app"
    shutil.copytree(
        ROOT / "benchmarks" / "transport" / "flower_app", app, ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(ROOT / "benchmarks" / "transport" / "job.py", app / "transport_app" / "transport_job.py")
    (run_dir / "flwr").mkdir()
    return {
        "FLWR_HOME": str(run_dir / "flwr"),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_NUM_THREADS": "1",
        # Flower starts its own programs by name.
        "PATH": f"{VENV / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": "",
    }


def make_environment() -> None:
    """Install Flower into an environment of its own, once: it needs another protobuf than OpenFL."""
    if (VENV / ".installed").exists():
        return
    print(f"installing {', '.join(REQUIREMENTS)} into {VENV.relative_to(ROOT)}", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    pip = [program("python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *REQUIREMENTS], check=True)
    (VENV / ".installed").touch()


def program(name: str) -> str:
    """Return the path of a program of Flower's environment."""
    return str(VENV / "bin" / name)


def write_connection(run_dir: Path, settings: str) -> None:
    """Tell `flwr` under which name and where the SuperLink is."""
    text = f'[superlink]\ndefault = "{CONNECTION}"\n\n[superlink.{CONNECTION}]\n{settings}'
    (run_dir / "flwr" / "config.toml").write_text(text, encoding="utf-8")


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
            started.append(ServiceProcess(name, command, run_dir, variables, logs / f"{name}.log"))
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
    """Kill processes of this run, known by their Flower home, that left their process group (Ray's do)."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("FLWR_HOME") == home:
                process.send_signal(signal.SIGKILL)
