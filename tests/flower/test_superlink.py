"""The two SuperLinks: one for SuperNodes, one that simulates."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from demo.ports import free_ports
from tests.flower.conftest import ROOT


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
