"""Services stand in as small shell scripts."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil
import pytest

from demo.process import ProcessDied, ServiceProcess, stop_all

from .conftest import is_gone


def start(folder: Path, script: str, name: str = "env_one") -> ServiceProcess:
    return ServiceProcess(name, ["bash", "-c", script], folder, os.environ, folder / f"{name}.log")


def wait_for_log(process: ServiceProcess, text: str) -> None:
    while text not in process.log_tail():
        process.check()
        time.sleep(0.02)


def test_a_death_is_reported_with_the_end_of_the_log(tmp_path: Path) -> None:
    process = start(tmp_path, "seq 1 100; echo no such folder >&2; exit 3")
    process._popen.wait()
    with pytest.raises(ProcessDied) as died:
        process.check()
    assert (died.value.name, died.value.exit_code) == ("env_one", 3)
    lines = died.value.log_tail.splitlines()
    assert len(lines) == 30
    assert lines[-1] == "no such folder"
    assert str(died.value).startswith("env_one ended with exit code 3")


def test_a_running_service_passes_the_check_and_stops_on_request(tmp_path: Path) -> None:
    process = start(tmp_path, "trap 'echo tidied up; exit 0' TERM; echo up; while :; do sleep 0.05; done")
    wait_for_log(process, "up")
    process.check()
    stop_all([process])
    assert process.exit_code() == 0
    assert "tidied up" in process.log_tail()


def test_a_deaf_service_and_its_children_are_killed(tmp_path: Path) -> None:
    process = start(tmp_path, "trap '' TERM; sleep 600 & echo child $!; wait")
    wait_for_log(process, "child ")
    child = int(process.log_tail().split()[1])
    stop_all([process], grace_seconds=0.2)
    assert process.exit_code() == -9
    assert is_gone(child)


def test_a_child_that_outlives_its_service_is_killed(tmp_path: Path) -> None:
    process = start(tmp_path, "trap '' TERM; sleep 600 & echo child $!")
    process._popen.wait()
    child = int(process.log_tail().split()[1])
    assert psutil.pid_exists(child)
    stop_all([process])
    assert is_gone(child)


def test_stopping_twice_is_harmless(tmp_path: Path) -> None:
    process = start(tmp_path, "sleep 600")
    stop_all([process])
    stop_all([process])
    assert process.exit_code() == -15
