"""Starts a director and its envoys from their own scripts, watches them, and stops them again."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import grpc
from openfl.protocols import director_pb2, director_pb2_grpc

from demo.envoy_config import ShardValue, set_shard_params
from demo.errors import DemoError
from demo.interrupts import held_back
from demo.ports import free_ports
from demo.process import ServiceProcess, stop_all
from superb_node import local_socket
from superb_node.errors import ConfigError
from superb_node.names import envoy_name
from superb_node.work_folder import OF_ONE_NODE

ROOT = Path(__file__).resolve().parent.parent
HOST = "localhost"
_POLL_SECONDS = 0.2
_CALL_SECONDS = 2.0
_NOT_COPIED = shutil.ignore_patterns(*OF_ONE_NODE, "__pycache__", ".*")
_Self = TypeVar("_Self", bound="Federation")  # typing has Self from Python 3.11


class NotReady(DemoError):
    """The director or some of the envoys did not come up in time."""


class Federation:
    """A director and its envoys, each started from a copy of its folder; a context manager.

        with Federation(run_dir, envoys=2) as federation:
            ...  # federation.director_port, federation.aggregator_port
            federation.check()

    Attributes:
        director_host, director_port: where the director listens.
        aggregator_port: a free port for the aggregator of the experiments.
        envoy_names: the envoys, by rank.
        nodes_dir: the copied folders, `director` and one for each envoy.
        logs_dir: `director.log`, `env_one.log`, …
        processes: the started services by name.
        ready_seconds: how long the director and all envoys may take to come up, together.
    """

    ready_seconds = 180.0

    def __init__(
        self,
        run_dir: Path,
        *,
        envoys: int = 2,
        shard_params: Mapping[str, ShardValue] | None = None,
        director_port: int | None = None,
        aggregator_port: int | None = None,
        environment: Mapping[str, str] | None = None,
        root: Path = ROOT,
    ) -> None:
        """Describe the federation; `start` or `with` brings it up.

        Args:
            run_dir: folder that receives `logs/` and `nodes/`; made if need be.
            envoys: how many, at least 1.
            shard_params: parameters of the shard descriptor that differ from `envoy_config.yaml`
                (source, data_dir, test_dir, partition, seed); rank and world size are set here.
            director_port: a free one by default.
            aggregator_port: a free one by default.
            environment: variables added to those of this process.
            root: folder that holds `director/` and `envoy/`.
        """
        free = free_ports(2)
        self.director_host = HOST
        self.director_port = director_port or free[0]
        self.aggregator_port = aggregator_port or free[1]
        self.envoy_names = [envoy_name(rank) for rank in range(1, envoys + 1)]
        self.nodes_dir = run_dir / "nodes"
        self.logs_dir = run_dir / "logs"
        self.processes: dict[str, ServiceProcess] = {}
        self._shard_params = dict(shard_params or {})
        self._environment = dict(environment or {})
        self._root = root

    def __enter__(self: _Self) -> _Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start director and envoys and return when all of them are registered.

        Raises:
            ProcessDied: one of them ended.
            NotReady: they were not all there in time.
        """
        deadline = time.monotonic() + self.ready_seconds
        try:
            self.start_director()
            self._wait_for(set(), deadline)
            for rank in range(1, len(self.envoy_names) + 1):
                self.start_envoy(rank)
            self._wait_for(set(self.envoy_names), deadline)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop everything that was started; harmless when nothing runs."""
        stop_all(self.processes.values())

    @property
    def first_config(self) -> Path:
        """Configuration of the first envoy, which says where all clips of the federation are."""
        return self.nodes_dir / self.envoy_names[0] / "envoy_config.yaml"

    def check(self) -> None:
        """Raise ProcessDied if the director or an envoy has ended."""
        for process in self.processes.values():
            process.check()

    def start_director(self) -> ServiceProcess:
        """Copy the director's folder, unless that is done, and run its script there."""
        folder = self.nodes_dir / "director"
        if not folder.exists():
            shutil.copytree(self._root / "director", folder, ignore=_NOT_COPIED)
        return self._run("director", self._director_command(), folder)

    def start_envoy(self, rank: int) -> ServiceProcess:
        """Copy the envoy's folder, unless that is done, set its rank, and run its script there.

        Args:
            rank: from 1 to the number of envoys.
        """
        name = self.envoy_names[rank - 1]
        folder = self.nodes_dir / name
        if not folder.exists():
            shutil.copytree(self._root / "envoy", folder, ignore=_NOT_COPIED)
        world_size = len(self.envoy_names)
        params: dict[str, ShardValue] = {"rank_worldsize": f"{rank}, {world_size}", **self._shard_params}
        if "source" in params:  # the folders in the file go with its own source
            params = {"data_dir": None, "test_dir": None, **params}
        set_shard_params(folder / "envoy_config.yaml", params)
        return self._run(name, self._envoy_command(name), folder)

    def registered(self) -> set[str]:
        """Names of the envoys that the director counts as online.

        Raises:
            grpc.RpcError: the director does not answer.
        """
        with self._channel() as channel:
            stub = director_pb2_grpc.DirectorStub(channel)
            answer = stub.GetEnvoys(director_pb2.GetEnvoysRequest(), timeout=_CALL_SECONDS)
        return {envoy.shard_info.node_info.name for envoy in answer.envoy_infos if envoy.is_online}

    def _channel(self) -> grpc.Channel:
        """Return a connection to the director."""
        try:
            socket_path = local_socket.path(self.director_port)
        except ConfigError as error:
            raise DemoError(str(error)) from error
        return grpc.insecure_channel(f"{local_socket.HOST}:{socket_path}")

    def _director_command(self) -> list[str]:
        return ["bash", "start_director.sh"]

    def _envoy_command(self, name: str) -> list[str]:
        return ["bash", "start_envoy.sh", name]

    def _run(self, name: str, command: list[str], folder: Path) -> ServiceProcess:
        self.logs_dir.mkdir(parents=True, exist_ok=True)
        with held_back():
            process = ServiceProcess(name, command, folder, self._variables(), self.logs_dir / f"{name}.log")
            self.processes[name] = process
        return process

    def _variables(self) -> dict[str, str]:
        """Environment of the services: this one, where the director is, and which Python."""
        return {
            **os.environ,
            "DIRECTOR_HOST": self.director_host,
            "DIRECTOR_PORT": str(self.director_port),
            "PYTHON": sys.executable,
            **self._environment,
        }

    def _missing(self, names: set[str]) -> str:
        """Say who of `names` is not there yet, or that the director is not; empty if all are."""
        try:
            return ", ".join(sorted(names - self.registered()))
        except grpc.RpcError:  # not listening yet, or in the middle of a registration
            return "the director"

    def _wait_for(self, names: set[str], deadline: float) -> None:
        """Return when the director answers and has all of `names` in its registry."""
        while time.monotonic() < deadline:
            self.check()
            if not (missing := self._missing(names)):
                return
            time.sleep(_POLL_SECONDS)
        raise NotReady(f"not ready after {self.ready_seconds:.0f} s: {missing}")
