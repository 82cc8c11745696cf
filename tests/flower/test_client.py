"""The notebook's way to a SuperLink: what is checked first, and what a submission that fails leaves."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from demo.ports import free_ports
from demo.process import ServiceProcess, stop_all
from superb_ks.run_files import FAILED, RUNNING, STATUS
from superb_ks.settings import Addresses, Settings
from superb_node.flower.cli import KEEPS_TO_ITSELF, FlowerCli, FlowerRefused
from superb_notebook import flower
from superb_notebook.connect import FederationError, connect
from superb_notebook.flower import RUN_ID, FlowerClient
from tests.support.lab import wait_until

WEIGHTS = np.zeros(2, np.float32)


def at(**addresses: Any) -> Settings:
    return Settings(engine="flower", addresses=Addresses(**addresses))


def test_a_name_is_free_again_when_nobody_answers(tmp_path: Path) -> None:
    client = FlowerClient(FlowerCli("127.0.0.1", free_ports(1)[0]), tmp_path)
    for _ in range(2):
        with pytest.raises(FlowerRefused, match="^flwr run: "):
            client.submit("again", [], b"{}", WEIGHTS, 0)
        assert list(tmp_path.iterdir()) == []


def test_a_name_is_free_again_after_an_interrupt(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        client = FlowerClient(FlowerCli("127.0.0.1", silent.getsockname()[1]), tmp_path)
        made: list[str] = []

        def interrupt() -> None:
            called, _ = silent.accept()
            with called:
                made.extend(path.name for path in tmp_path.iterdir())
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

        caller = threading.Thread(target=interrupt, daemon=True)
        caller.start()
        with pytest.raises(KeyboardInterrupt):
            client.submit("again", [], b"{}", WEIGHTS, 0)
        caller.join()
    assert made == ["again"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("host", ["192.0.2.7", "[2001:db8::7]"])
def test_plain_text_stays_on_this_machine(host: str) -> None:
    with pytest.raises(FederationError) as refused:
        connect(at(director_host=host))
    assert str(refused.value) == (
        f"without TLS a notebook calls a director or SuperLink on this machine only, and {host} is another: "
        "anybody on the way could change what it submits. Name the folder of make certs in "
        "Addresses(certificates=...), or say insecure_allow_plaintext_on_network=True"
    )


def test_certificates_that_are_not_there(tmp_path: Path) -> None:
    folder = tmp_path / "nowhere"
    with pytest.raises(FederationError) as refused:
        connect(at(certificates=str(folder)))
    assert str(refused.value) == (
        f"no certificates in {folder}: root_certificate.pem is missing; make certs makes them"
    )


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_nobody_answers_at_an_ipv6_address_in_brackets(host: str) -> None:
    (port,) = free_ports(1)
    with pytest.raises(FederationError) as refused:
        connect(at(director_host=host, director_port=port))
    told = f"no SuperLink answers at [::1]:{port}. Start one: cd director && bash start_superlink.sh"
    assert str(refused.value) == told


def a_run(folder: Path) -> FlowerClient:
    """Return a client of a free port, with the folder of a run that its server writes as running."""
    (folder / "here").mkdir()
    (folder / "here" / RUN_ID).write_text("5")
    (folder / "here" / STATUS).write_text(RUNNING)
    return FlowerClient(FlowerCli("127.0.0.1", free_ports(1)[0]), folder)


def test_a_superlink_that_does_not_answer_has_ended_no_run(tmp_path: Path) -> None:
    assert a_run(tmp_path).get_experiment_status("here").experiment_status == RUNNING


def test_a_superlink_that_stays_silent_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = a_run(tmp_path)
    monkeypatch.setattr(flower, "_PATIENCE_SECONDS", 0.0)
    with pytest.raises(FlowerRefused, match="^flwr list: "):
        client.get_experiment_status("here")


@pytest.mark.federation
def test_a_superlink_that_does_not_know_a_run_has_lost_it(tmp_path: Path) -> None:
    a_run(tmp_path)
    (port,) = free_ports(1)
    programs = Path(sys.executable).parent
    command = [str(programs / "flower-superlink"), "--insecure", "--host=127.0.0.1", f"--port={port}"]
    variables = {**os.environ, **KEEPS_TO_ITSELF, "FLWR_HOME": str(tmp_path / "home")}
    variables["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"  # it starts others by their names
    log = tmp_path / "superlink.log"
    superlink = ServiceProcess("superlink", command, tmp_path, variables, log)

    def listens() -> bool:
        superlink.check()
        return "Uvicorn running" in log.read_text(encoding="utf-8", errors="replace")

    try:
        wait_until(listens, 120)
        client = FlowerClient(FlowerCli("127.0.0.1", port), tmp_path)
        assert client.get_experiment_status("here").experiment_status == FAILED
    finally:
        stop_all([superlink])
