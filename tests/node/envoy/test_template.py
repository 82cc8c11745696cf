"""The processes of an envoy: each test forks a real template, in a process of its own that knows no gRPC."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from superb_node.envoy import guard
from tests.support.lab import wait_until

# The service: prints its template's process id, does the jobs that it reads, and prints how they ended.
SERVICE = """
import json, os, signal, subprocess, sys, time
from contextlib import closing
from superb_node.envoy import template
from superb_node.envoy.template import Template, WorkerFailed
from superb_node.stop_signals import StoppedBySignal, stop_on_signals

held = []
def work(job):
    print("worker", os.getpid(), os.getppid(), flush=True)
    exec(job["code"], {"held": held})

template.END_SECONDS = float(sys.argv[1])
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
        self.last = ""
        self.pids = [process.pid, int(self.read().split()[1])]

    def read(self) -> str:
        """Return the next thing that is told; a worker's words come with a mark, among other output."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.last = line
            told = line.strip().removeprefix("| ")
            if told.startswith(("template", "worker", "done", "ended", "failed", "stopped", "told")):
                return told
        return ""

    def start(self, code: str, **more: object) -> int:
        """Start a job; returns the worker's process id."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"code": code, **more}) + "\n")
        self.process.stdin.flush()
        word, worker, parent = self.read().split()
        assert word == "worker"
        if guard.possible():
            self.pids.append(int(parent))
            with suppress(psutil.NoSuchProcess):  # after a short job the guard has ended already
                assert psutil.Process(int(parent)).ppid() == self.pids[1]
        else:
            assert int(parent) == self.pids[1]
        self.pids.append(int(worker))
        return int(worker)

    def do(self, code: str, **more: object) -> str:
        """Do a job; returns the outcome."""
        self.start(code, **more)
        return self.read()


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@contextmanager
def running(end_seconds: float = 60.0) -> Iterator[Service]:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVICE, str(end_seconds)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
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
        ("import os; os._exit(0)", 1, "ended before its work was done"),
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


def test_a_worker_that_fills_the_pipe_of_its_report_still_ends(lasting: Service) -> None:
    full = """
import contextlib, os, stat
for fd in range(3, 20):
    with contextlib.suppress(OSError):
        if stat.S_ISFIFO(os.fstat(fd).st_mode):
            os.set_blocking(fd, False)
            while True:
                os.write(fd, b"x" * 4096)
"""
    assert "the process of the experiment ended with 1" in lasting.do(full)
    assert lasting.do("pass") == "done"


FLOOD = """
import os, time
for _ in range(8):
    if os.fork() == 0:
        end = time.monotonic() + 40
        while time.monotonic() < end:
            os.write(1, b"\\n" * 65536)
        os._exit(0)
time.sleep(40)
"""


def test_a_worker_that_prints_without_end_is_ended_and_the_next_one_works(service: Service) -> None:
    assert service.do(FLOOD, unwanted=True) == "ended"
    assert service.do("pass") == "done"


def test_all_workers_of_an_experiment_share_what_it_may_print(lasting: Service) -> None:
    shout = "import os\nfor _ in range(400): os.write(1, b'z' * 1900 + b'\\n')"

    def printed(experiment_id: str) -> int:
        assert lasting.process.stdin is not None and lasting.process.stdout is not None
        lasting.process.stdin.write(json.dumps({"code": shout, "id": experiment_id}) + "\n")
        lasting.process.stdin.flush()
        lines = 0
        for line in lasting.process.stdout:
            if line == "done\n":
                return lines
            lines += "zzz" in line
        raise AssertionError("it ended")

    all_of_it, rest, nothing, other = (printed(experiment_id) for experiment_id in "aaab")
    assert (all_of_it, nothing, other) == (400, 0, 400)
    assert 100 < rest < 150


def test_a_worker_that_nobody_wants_is_ended_in_the_middle_of_a_task(lasting: Service) -> None:
    began = time.monotonic()
    assert lasting.do("import time; time.sleep(60)", unwanted=True) == "ended"
    assert time.monotonic() - began < 10
    assert is_gone(lasting.pids[-1])
    assert lasting.do("pass") == "done"


def test_a_worker_may_finish_when_its_experiment_is_over(lasting: Service) -> None:
    assert lasting.do("import time; time.sleep(0.7)", unwanted=True) == "done"


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


def test_a_worker_that_does_not_end_ends_the_service_with_one_line_and_nothing_stays() -> None:
    """A template that is stopped stands in for one that waits for a worker's memory."""
    with running(end_seconds=1.0) as service:
        code = (
            "import os, signal\nif os.fork() == 0:\n  os.setsid()\n  print('told', os.getpid(), flush=True)\n"
        )
        service.start(code + SLEEP, unwanted=True)
        service.pids.append(int(service.read().split()[1]))
        os.kill(service.pids[1], signal.SIGSTOP)
        assert service.read() == ""
        assert service.process.wait(10) == 1
        assert "envoy: an experiment's process did not end within 1 s, so the envoy ends" in service.last
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
