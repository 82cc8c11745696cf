"""Starts the real director and real envoys on a few clips."""

from __future__ import annotations

import os
import shutil
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
import yaml

from demo.envoy_config import set_shard_params
from demo.federation import Federation, NotReady
from demo.ports import free_ports
from demo.process import ProcessDied
from superb_node import local_socket
from superb_node.names import envoy_name

from .conftest import ROOT, left_below, processes_below

pytestmark = pytest.mark.federation
FROM_THE_SHELL = {"PWD", "OLDPWD", "SHLVL", "_"}
FROM_THE_SCRIPT = {"MALLOC_ARENA_MAX"}


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_envoys_are_named_by_rank() -> None:
    names = [envoy_name(rank) for rank in (1, 2, 10, 11)]
    assert names == ["env_one", "env_two", "env_ten", "env_11"]


def test_free_ports_are_free_and_different() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert not any(listens(port) for port in ports)


def test_a_drawn_port_is_its_services_alone() -> None:
    """A second program that draws does not get it; the service that it is for can listen on it."""
    (port,) = free_ports(1)
    for address in ("", "127.0.0.1"):
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind((address, port))
    with ThreadPoolExecutor(1) as pool:
        service = grpc.server(pool)
        assert service.add_insecure_port(f"127.0.0.1:{port}") == port
        service.start()
        assert listens(port)
        service.stop(None).wait()


def test_the_folders_of_the_file_go_with_its_source(tmp_path: Path) -> None:
    """They are those of the user's own clips, and the demo's are synthetic."""
    root = tmp_path / "project"
    (root / "envoy").mkdir(parents=True)
    shutil.copy(ROOT / "envoy" / "envoy_config.yaml", root / "envoy")
    own = {"source": "folder", "data_dir": "/own", "test_dir": "/own"}
    set_shard_params(root / "envoy" / "envoy_config.yaml", own)

    def params(name: str, **changed: str) -> dict[str, Any]:
        federation = Federation(tmp_path / name, envoys=1, shard_params=changed, root=root)
        with suppress(NotReady, ProcessDied):  # there is no script
            federation.start_envoy(1)
        federation.stop()
        return dict(yaml.safe_load(federation.first_config.read_text())["shard_descriptor"]["params"])

    made = params("synthetic", source="synthetic")
    assert (made["source"], made["data_dir"], made["test_dir"]) == ("synthetic", None, None)
    assert {name: params("own")[name] for name in own} == own


def test_a_federation_comes_up_notices_a_death_and_goes(
    tmp_path: Path, shard_params: dict[str, str | int]
) -> None:
    with Federation(tmp_path, envoys=2, shard_params=shard_params) as federation:
        assert federation.registered() == {"env_one", "env_two"}
        assert len(processes_below(tmp_path)) >= 3
        configs = [federation.nodes_dir / name / "envoy_config.yaml" for name in federation.envoy_names]
        ranks = [yaml.safe_load(path.read_text())["shard_descriptor"]["params"] for path in configs]
        assert [params["rank_worldsize"] for params in ranks] == ["1, 2", "2, 2"]
        for process in federation.processes.values():  # the scripts' own, and what they are told
            added = psutil.Process(process.pid).environ().keys() - os.environ.keys()
            assert added - FROM_THE_SHELL <= {*FROM_THE_SCRIPT, "DIRECTOR_HOST", "DIRECTOR_PORT", "PYTHON"}
        federation.check()

        federation.processes["env_two"].kill()
        with pytest.raises(ProcessDied) as died:
            federation.check()
        assert (died.value.name, died.value.exit_code) == ("env_two", -9)
    assert not left_below(tmp_path)
    assert not Path(local_socket.path(federation.director_port)).exists()
    logs = sorted(path.name for path in federation.logs_dir.iterdir())
    assert logs == ["director.log", "env_one.log", "env_two.log"]


def test_an_envoy_that_cannot_start_stops_everything(tmp_path: Path) -> None:
    params = {"source": "folder", "data_dir": str(tmp_path / "no_such_folder")}
    with pytest.raises(ProcessDied, match="no_such_folder") as died:
        Federation(tmp_path, envoys=2, shard_params=params).start()
    assert died.value.name in {"env_one", "env_two"}
    assert died.value.exit_code > 0
    assert not left_below(tmp_path)


def test_a_taken_port_is_the_directors_death(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with local_socket.only_listener(port), pytest.raises(ProcessDied, match=str(port)) as died:
        Federation(tmp_path, director_port=port).start()
    assert died.value.name == "director"
    assert not left_below(tmp_path)


def test_who_is_missing_is_named(tmp_path: Path) -> None:
    for name in ("director", "envoy"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("work", "__pycache__"))
    script = tmp_path / "envoy" / "start_envoy.sh"
    script.write_text("exec sleep 600\n")
    federation = Federation(tmp_path / "run", envoys=1, root=tmp_path)
    federation.ready_seconds = 30
    with pytest.raises(NotReady, match="env_one"):
        federation.start()
    assert not left_below(tmp_path)
