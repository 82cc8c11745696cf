"""Flower's simulation engine: a SuperLink of its own, runs on it, and nothing left of all that."""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from demo.errors import DemoError
from demo.interrupts import held_back
from demo.ports import free_ports
from demo.process import ServiceProcess, stop_all
from simulation import guard
from superb_node.envoy.threads import usable_cores
from superb_node.flower.cli import SUPERLINK, superlink_config, toml_value
from superb_node.flower.launch import KEEPS_TO_ITSELF, program

ROOT = Path(__file__).resolve().parent.parent
APP = ROOT / "flower"
HOST = "127.0.0.1"
READY_SECONDS = 60.0
RAY_SECONDS = 600.0
"""So long Ray may take to start, on a machine that has other things to do."""
MOST_AT_ONCE = 32
"""Workers that Flower lets work at a time: it has the threads of a ThreadPoolExecutor without a number."""
CLUSTER = "RAY_ADDRESS"
"""Variable that names a Ray cluster which is there already, on one machine or several."""
_POLL_SECONDS = 0.2
_RAY, _SUPERLINK, _RUN = "ray", "superlink", "run"
_RAY_STARTED, _RAY_TRIES = "Ray runtime started", 3
# A node that finds these out by itself gives up if its helpers have not reported their ports in 15 seconds.
_RAY_PORTS = (
    *("ray-client-server", "node-manager", "object-manager", "runtime-env-agent"),
    *("dashboard-agent-grpc", "dashboard-agent-listen", "metrics-export"),
)
# Seconds that Ray and its workers wait for one another, on a machine that has other things to do.
_PATIENCE = {
    "RAY_worker_register_timeout_seconds": "600",
    "RAY_agent_register_timeout_ms": "600000",
    "RAY_gcs_server_request_timeout_seconds": "600",
}


def named_cluster() -> str:
    """Return the address of the Ray cluster that `CLUSTER` names; empty if it names none."""
    return os.environ.get(CLUSTER, "")


def most_workers() -> int:
    """Return how many workers use all cores: one each, or fewer workers that have several cores each."""
    cores = usable_cores()
    return cores // math.ceil(cores / MOST_AT_ONCE)


class Engine:
    """A SuperLink that simulates, with a Ray cluster, and runs on it; a context manager.

    Ray starts first and by itself, because Flower would start it while it loads the app, PyTorch included. If
    there is a `named_cluster`, that one is used, and stays.

    Args:
        folder: receives Flower's files; whoever made it removes it.
        logs: folder for the logs of SuperLink and run; made if need be.
        clients: how many a run of `run` simulates.
        workers: processes that play them, each with its share of the cores.
    """

    def __init__(self, folder: Path, logs: Path, clients: int, workers: int) -> None:
        self._folder, self._logs, self._clients, self._workers = folder, logs, clients, workers
        self._threads = max(1, usable_cores() // workers)  # of each worker
        self.processes: dict[str, ServiceProcess] = {}
        self._ray: Path | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        # Other accounts of this machine reach its ports.
        self._own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with held_back():
            stop_all(reversed(list(self.processes.values())), grace_seconds=0.0)
            left = set() if self._ray is None else guard.end_all(self._ray)
            if self._guard is not None:
                self._guard.kill()
                self._guard.communicate()
            if left:
                told = f"these process groups did not end in {guard.KILL_SECONDS:.0f} s: {sorted(left)}"
                if error is None:
                    raise DemoError(told)
                print(told, file=sys.stderr)  # the error says more

    def run(self, config: Mapping[str, Any], app: Path = APP) -> Iterator[None]:
        """Run the app, and yield from time to time until the run has ended.

        Args:
            config: what the run config says in place of the app's defaults.
            app: its folder.

        Raises:
            DemoError: Ray or the SuperLink did not come up, or ended.
        """
        (port,) = free_ports(1)
        self.serve(port)
        config_file = self._folder / "config.toml"
        config_file.write_text(superlink_config(f"{HOST}:{port}"), encoding="utf-8")
        given = self._folder / "run.toml"
        lines = [f"{name} = {toml_value(value)}\n" for name, value in config.items()]
        given.write_text("".join(lines), encoding="utf-8")
        threads = 1 if named_cluster() else self._threads
        federation = f"num-supernodes={self._clients} client-resources-num-cpus={threads}"
        options = ["--run-config", str(given), "--federation-config", federation]
        self._start(_RUN, "flwr", "run", str(app), SUPERLINK, "--stream", *options)
        while self.processes[_RUN].exit_code() is None:
            self.check()
            yield
            time.sleep(_POLL_SECONDS)

    def serve(self, port: int) -> None:
        """Start the cluster, if no other is named, and the SuperLink; returns when it listens.

        Raises:
            DemoError: Ray or the SuperLink did not come up.
        """
        self._logs.mkdir(parents=True, exist_ok=True)
        self._folder.mkdir(parents=True, exist_ok=True)
        if not named_cluster():
            self._start_ray(self._threads * self._workers)
        link = ["--insecure", "--simulation", "--host", HOST, "--port", str(port)]
        self._start(_SUPERLINK, "flower-superlink", *link, "--disable-runtime-dependency-installation")
        self._wait_for(port)

    def check(self) -> None:
        """Make sure that cluster and SuperLink are there.

        Raises:
            DemoError: one of them has ended.
        """
        for name in self.processes.keys() - {_RUN}:
            self.processes[name].check()

    @property
    def groups(self) -> set[int]:
        """The process groups of all that runs for this simulation."""
        return set() if self._ray is None else guard.groups_of(self._ray)

    def log_tail(self) -> str:
        """The end of the run's log."""
        return self.processes[_RUN].log_tail()

    def _start_ray(self, cores: int) -> None:
        """Start a cluster of this machine alone, and return when it is there."""
        deadline = time.monotonic() + RAY_SECONDS
        for _ in range(_RAY_TRIES):
            port, *others = free_ports(1 + len(_RAY_PORTS))
            ports = [f"--{name}-port={free}" for name, free in zip(_RAY_PORTS, others, strict=True)]
            own = [f"--node-ip-address={HOST}", f"--port={port}", f"--num-cpus={cores}"]
            self._start(_RAY, "ray", "start", "--head", "--block", "--include-dashboard=false", *own, *ports)
            ray = self.processes[_RAY]
            while ray.exit_code() is None:
                if _RAY_STARTED in ray.log_path.read_text(encoding="utf-8", errors="replace"):
                    self._own[CLUSTER] = f"{HOST}:{port}"
                    return
                if time.monotonic() > deadline:
                    told = f"Ray was not ready after {RAY_SECONDS:.0f} s"
                    raise DemoError(f"{told}; the end of its log:\n{ray.log_tail()}")
                time.sleep(_POLL_SECONDS)
            ray.kill()  # what it has started
        ray.check()

    def _start(self, name: str, command: str, *arguments: str) -> None:
        file = program(command)
        with held_back():
            if self._ray is None:
                self._ray = Path(tempfile.mkdtemp(prefix="superb-ray-", dir="/tmp"))
                self._guard = subprocess.Popen(
                    [sys.executable, "-m", "simulation.guard", str(self._ray)],
                    cwd=ROOT,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    start_new_session=True,
                )
            log = self._logs / f"{name}.log"
            started = ServiceProcess(name, [str(file), *arguments], ROOT, self._variables(), log)
            self.processes[name] = started

    def _variables(self) -> dict[str, str]:
        """This process's environment, with everything that Flower and Ray keep in folders of the run."""
        return {
            **{name: value for name, value in os.environ.items() if name != CLUSTER or value},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "FLWR_HOME": str(self._folder),
            **KEEPS_TO_ITSELF,
            **_PATIENCE,
            # Its sockets lie there, whose paths have to be short.
            guard.VARIABLE: str(self._ray),
            **(self._of_others() if named_cluster() else self._own),
            "RAY_USAGE_STATS_ENABLED": "0",
        }

    def _of_others(self) -> dict[str, str]:
        """Variables for a cluster that is there already: its other machines have no copy of the app."""
        further = os.environ.get("PYTHONPATH")
        return {"PYTHONPATH": f"{APP}{os.pathsep}{further}" if further else str(APP)}

    def _wait_for(self, port: int) -> None:
        """Return when the SuperLink listens."""
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            self.processes[_SUPERLINK].check()
            with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
                return
            time.sleep(_POLL_SECONDS)
        raise DemoError(f"Flower's SuperLink was not ready after {READY_SECONDS:.0f} s")
