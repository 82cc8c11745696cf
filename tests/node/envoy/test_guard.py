"""The process that ends all that a worker has started, at one stroke, and nothing else."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from superb_node.envoy import guard
from tests.node.envoy.test_template import SLEEP, Service, is_gone, running
from tests.support.lab import wait_until

pytestmark = pytest.mark.skipif(not guard.possible(), reason="this kernel does not keep signals inside")

# 120 processes that fork a successor and end: whoever reads a list of them reads of the dead. In C, since
# Python is slow enough to be caught. They end after 20 s, or when they are told.
CHAIN = r"""
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
int main(int count, char **words) {
    FILE *file = fopen(words[1], "w");
    time_t end = time(0) + 20;
    setsid();
    for (int i = 0; i < 120; i++) {
        if (fork() == 0) goto run;
    }
    _exit(0);
run:
    while (time(0) < end && access(words[2], F_OK) != 0) {
        if (fork()) _exit(0);
        char text[32];
        int size = snprintf(text, sizeof text, "%d", getpid());
        pwrite(fileno(file), text, size, 0);
        usleep(2000);
    }
    _exit(0);
}
"""
START_CHAIN = """
import subprocess, sys, time
subprocess.run([{chain!r}, {file!r}, {file!r} + ".stop"], stdout=-3, stderr=-3)
time.sleep({seconds})
"""


@pytest.fixture
def service() -> Iterator[Service]:
    with running() as service:
        yield service


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen]:
    """Another process of this account."""
    with subprocess.Popen(["sleep", "300"], start_new_session=True) as process:
        yield process
        process.kill()


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The program."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("chain")
    (folder / "chain.c").write_text(CHAIN)
    subprocess.run([compiler, "-o", folder / "chain", folder / "chain.c"], check=True)
    return str(folder / "chain")


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """Where a chain shows that it lives."""
    yield tmp_path / "file"
    (tmp_path / "file.stop").touch()


def stands_still(file: Path) -> bool:
    before = file.read_text()
    time.sleep(1)
    return before != "" and file.read_text() == before


@pytest.mark.parametrize(
    ("seconds", "unwanted", "outcome"), [(0, False, "done"), (60, True, "ended")], ids=["done", "unwanted"]
)
def test_a_chain_of_processes_ends_with_its_worker_and_others_live(
    service: Service,
    bystander: subprocess.Popen,
    chain: str,
    file: Path,
    seconds: int,
    unwanted: bool,
    outcome: str,
) -> None:
    code = START_CHAIN.format(chain=chain, file=str(file), seconds=seconds)
    began = time.monotonic()
    assert service.do(code, unwanted=unwanted) == outcome
    assert time.monotonic() - began < 10
    assert stands_still(file)
    assert bystander.poll() is None
    assert service.do("pass") == "done"


@pytest.mark.parametrize("who", [0, 1], ids=["service", "template"])
def test_a_chain_ends_with_service_and_template_however_they_die(
    service: Service, bystander: subprocess.Popen, chain: str, file: Path, who: int
) -> None:
    service.start(START_CHAIN.format(chain=chain, file=str(file), seconds=60))
    wait_until(lambda: file.exists() and file.read_text() != "", 10)
    os.kill(service.pids[who], signal.SIGKILL)
    wait_until(lambda: all(is_gone(pid) for pid in service.pids), 30)
    assert stands_still(file)
    assert bystander.poll() is None


def test_a_confined_worker_cannot_signal_its_guard(service: Service, tmp_path: Path) -> None:
    code = f"""
import os, pathlib
from superb_node.envoy.confinement import confine
guard = os.getppid()
confine(pathlib.Path({str(tmp_path)!r}), [], None, 1)
for signum in (0, {int(guard.END)}, 9, 19):
    try:
        os.kill(guard, signum)
    except PermissionError:
        continue
    raise AssertionError(signum)
"""
    assert service.do(code) == "done"


def test_a_guard_ends_nobody_where_a_signal_gets_out(
    bystander: subprocess.Popen,
) -> None:
    """Stands in for a kernel that says it keeps signals inside and does not."""
    source = """
import os, sys
from superb_node.envoy import guard, landlock
landlock.scope_signals = lambda: None
def kill(pid, signum, kill=os.kill):
    if pid < 0:
        print("KILLED ALL")
        os._exit(3)
    kill(pid, signum)
os.kill = kill
if (child := os.fork()) == 0:
    guard.guard(os.getppid(), lambda: print("WORKED", flush=True))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "1\n"
    assert "NoGuard: Landlock" in done.stderr
    assert bystander.poll() is None


def test_a_guard_costs_little_memory(service: Service) -> None:
    service.start(SLEEP)
    template, own = (psutil.Process(pid) for pid in service.pids[1:3])
    assert own.ppid() == template.pid
    assert own.memory_full_info().uss < 10 * 2**20
