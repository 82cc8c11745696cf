"""The two SuperLinks: one for SuperNodes, one that simulates."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from demo.errors import DemoError
from demo.ports import free_ports
from simulation.engine import CLUSTER, Engine
from simulation.superlink import serve
from tests.flower.conftest import ROOT, left
from tests.support.lab import wait_until


def refused(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stdout) == (2, "")
    return done.stderr


def test_the_directors_script_does_not_simulate() -> None:
    assert refused("superb_node.flower.superlink", "--simulation") == (
        "superlink: to simulate: python -m simulation.superlink, in the project's folder\n"
    )


@pytest.mark.parametrize("port", ["0", "x", "70000"])
def test_an_illegal_port(port: str) -> None:
    told = refused("simulation.superlink", f"--port={port}")
    assert told == f"superlink: the director's port is '{port}'; legal: 1024 to 65535\n"


def test_a_port_that_somebody_has() -> None:
    (port,) = free_ports(1)
    with socket.create_server(("127.0.0.1", port)):
        told = refused("simulation.superlink", f"--port={port}")
    assert told.startswith(f"superlink: cannot listen on 127.0.0.1:{port} (Address already in use).")
    assert "Is another superlink running?" in told


@pytest.mark.parametrize(
    ("address", "words"),
    [
        (None, "starting a SuperLink that simulates, and Ray ..."),
        ("", "starting a SuperLink that simulates, and Ray ..."),
        ("10.0.0.1:6379", "starting a SuperLink that simulates, on the Ray cluster at 10.0.0.1:6379 ..."),
    ],
)
def test_ray_is_started_unless_a_cluster_is_named(
    address: str | None,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An empty variable names none, for whoever says it and for whoever starts it."""
    if address is None:
        monkeypatch.delenv(CLUSTER, raising=False)
    else:
        monkeypatch.setenv(CLUSTER, address)
    started: list[str] = []

    def begin(engine: Engine, name: str, *command: str) -> None:
        started.append(name)
        assert engine._variables().get(CLUSTER) == (address or None)
        raise DemoError("far enough")

    monkeypatch.setattr(Engine, "_start", begin)
    with pytest.raises(DemoError, match="far enough"):
        serve(free_ports(1)[0], tmp_path)
    assert started == ["superlink" if address else "ray"]
    assert capsys.readouterr().out == f"superlink: {words}\n"


@pytest.mark.federation
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nothing_outlives_a_killed_superlink_but_its_logs(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "simulation.superlink", f"--port={port}"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline().startswith("superlink: starting")
    assert process.stdout.readline().startswith(f"superlink: listening at 127.0.0.1:{port}")
    assert left(tmp_path)
    process.kill()
    process.communicate()
    wait_until(lambda: left(tmp_path) == [], 60)
