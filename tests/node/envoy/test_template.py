"""The processes of an envoy: each test forks a real template, in a process of its own that knows no gRPC."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.support.lab import wait_until

# The service: prints its template's process id, does the jobs that it reads, and prints how they ended.
SERVICE = """
import json, os, signal, subprocess, sys, time
from contextlib import closing
from superb_node.envoy.template import Template, WorkerFailed
from superb_node.stop_signals import StoppedBySignal, stop_on_signals

held = []
def work(job):
    print("worker", os.getpid(), os.getppid(), flush=True)
    exec(job["code"], {"held": held})

stop_on_signals()
asked = [0]
def still_wanted():
    asked[0] += 1
    return asked[0] < 3
with closing(Template(lambda: held.append("prepared"), work)) as template:
    print("template", template.pid, flush=True)
    try:
        for line in sys.stdin:
            job = json.loads(line)
            wanted = still_wanted if job.get("unwanted") else lambda: True
            try:
                print("done" if template.run(job, wanted, 0.1) else "ended", flush=True)
            except WorkerFailed as failed:
                print("failed", failed.code, json.dumps(failed.text), flush=True)
    except StoppedBySignal as stopped:
        print("stopped", stopped.signum, flush=True)
"""


class Service:
    """A service and its template; `pids` are those of all processes that it told of."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.pids = [process.pid, int(self.read().split()[1])]

    def read(self) -> str:
        """Return the next thing that is told; a worker's words come with a mark, among other output."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            told = line.strip().removeprefix("| ")
            if told.startswith(("template", "worker", "done", "ended", "failed", "stopped", "told")):
                return told
        return ""

    def start(self, code: str, **more: object) -> int:
        """Start a job; returns the worker's process id."""
        import json

        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"code": code, **more}) + "\n")
        self.process.stdin.flush()
        word, worker, parent = self.read().split()
        assert (word, int(parent)) == ("worker", self.pids[1])
        self.pids.append(int(worker))
        return int(worker)

    def do(self, code: str, **more: object) -> str:
        """Do a job; returns the outcome."""
        self.start(code, **more)
        return self.read()


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@contextmanager
def running() -> Iterator[Service]:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVICE], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        yield Service(process)
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def lasting() -> Iterator[Service]:
    with running() as service:
        yield service


@pytest.fixture
def service() -> Iterator[Service]:
    with running() as service:
        yield service


def test_each_job_has_a_process_that_knows_what_was_prepared_and_nothing_of_the_others(
    lasting: Service,
) -> None:
    assert lasting.do("assert held == ['prepared']; held.append('mine')") == "done"
    assert lasting.do("assert held == ['prepared']") == "done"
    assert len(set(lasting.pids[-2:])) == 2
    assert all(is_gone(pid) for pid in lasting.pids[2:])


@pytest.mark.parametrize(
    ("code", "number", "text"),
    [
        ("raise ValueError('no such label')", 1, "ValueError: no such label"),
        ("raise SystemExit(0)", 1, "SystemExit(0)"),
        (
            "error = OSError('cut'); error.was_reached = True; raise error",
            2,
            "lost the way to the aggregator",
        ),
        ("import os; os._exit(7)", 1, "the process of the experiment ended with 7"),
        ("import os; os.kill(os.getpid(), 40)", 1, "ended by signal 40"),
        ("import os; os.abort()", 1, "ended by SIGABRT"),
        (
            "import os; os.kill(os.getpid(), 9)",
            1,
            "ended by SIGKILL; the system does so when memory runs out",
        ),
        ("raise ValueError('ä' * 100_000)", 1, "ää"),
    ],
)
def test_why_a_worker_failed_is_told_and_the_next_one_works(
    lasting: Service, code: str, number: int, text: str
) -> None:
    outcome = lasting.do(code)
    assert outcome.startswith(f"failed {number} ")
    assert text in outcome.encode().decode("unicode_escape")
    assert lasting.do("pass") == "done"


def test_a_worker_that_writes_what_it_likes_is_not_believed(lasting: Service) -> None:
    forged = (
        "import os\nfor fd in range(3, 20):\n  try: os.write(fd, b'\\xff' * 5000)\n  except OSError: pass\n"
    )
    assert lasting.do(forged + "os._exit(3)") == 'failed 1 "the process of the experiment ended with 3"'
    assert lasting.do("pass") == "done"


def test_a_worker_that_nobody_wants_is_ended_in_the_middle_of_a_task(lasting: Service) -> None:
    began = time.monotonic()
    assert lasting.do("import time; time.sleep(60)", unwanted=True) == "ended"
    assert time.monotonic() - began < 10
    assert is_gone(lasting.pids[-1])
    assert lasting.do("pass") == "done"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives us the children of our children")
def test_what_a_worker_leaves_behind_is_ended(lasting: Service, tmp_path: Path) -> None:
    told = tmp_path / "pid"
    code = f"""
import os, pathlib, time
told = pathlib.Path({str(told)!r})
if os.fork() == 0:
    os.setsid()
    told.write_text(str(os.getpid()))
    time.sleep(60)
while not (told.exists() and told.read_text()):
    time.sleep(0.01)
"""
    assert lasting.do(code) == "done"
    wait_until(lambda: is_gone(int(told.read_text())), 5)


SLEEP = "import time; time.sleep(60)"
BUSY = "while True: pass"


@pytest.mark.parametrize("code", [None, SLEEP, BUSY], ids=["idle", "asleep", "busy"])
def test_a_service_that_is_killed_takes_the_others_along(service: Service, code: str | None) -> None:
    if code:
        service.start(code)
    os.kill(service.process.pid, signal.SIGKILL)
    wait_until(lambda: all(is_gone(pid) for pid in service.pids), 5)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("to_all", [False, True], ids=["to the service", "as from a terminal"])
def test_a_signal_ends_a_worker_in_the_middle_of_a_task(
    service: Service, signum: signal.Signals, to_all: bool
) -> None:
    service.start(SLEEP)
    (os.killpg if to_all else os.kill)(service.process.pid, signum)
    assert service.read() == f"stopped {int(signum)}"
    assert service.process.wait(10) == 0
    assert all(is_gone(pid) for pid in service.pids)


def test_a_template_that_is_gone_ends_the_service(service: Service) -> None:
    service.start(SLEEP)
    os.kill(service.pids[1], signal.SIGKILL)
    assert service.process.wait(10) == 1
    assert all(is_gone(pid) for pid in service.pids)


def test_a_workers_memory_is_the_systems_again(lasting: Service) -> None:
    def megabytes() -> float:
        return sum(psutil.Process(pid).memory_info().rss for pid in lasting.pids[:2]) / 2**20

    assert lasting.do("pass") == "done"
    before = megabytes()
    assert lasting.do("data = b'x' * 300 * 2**20; assert data[-1] == 120") == "done"
    assert abs(megabytes() - before) < 5


def test_a_worker_has_no_terminal(lasting: Service) -> None:
    assert (
        lasting.do("import os, sys; assert os.getsid(0) == os.getpid(); assert not os.read(0, 1)") == "done"
    )
