"""The template's own work: it forks workers, tells how they ended, and ends all that they have started."""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

import psutil

from superb_node.envoy import linux
from superb_node.envoy.output import Output
from superb_node.envoy.participation import failure_report
from superb_node.reports import LEFT, TASK_RAISED
from superb_node.stop_signals import STOP_SIGNALS

Job = dict[str, Any]
"""What a worker is told of its experiment; it travels as JSON."""

MAX_REPORT_CHARACTERS = 10_000
"""Of a failure: as UTF-8 it fits into a pipe that nobody reads yet."""
_PIPE_BYTES = 65_536
_END_SECONDS = 5.0
# Options of Linux' prctl.
_DIE_WITH_PARENT, _ADOPT_ORPHANS = 1, 36


class Forker:
    """The template itself.

    Args:
        pipe: to the service.
        work: does a job, in a process of its own.
    """

    def __init__(self, pipe: Connection, work: Callable[[Job], None]) -> None:
        self._pipe = pipe
        self._work = work
        self._alarm = os.pipe()
        self._worker = 0
        self._report = -1
        self._output: Output | None = None

    def serve(self, prepare: Callable[[], None]) -> None:
        """Fork workers until the service ends."""
        for signum in STOP_SIGNALS:  # a terminal sends them to all; the service decides
            signal.signal(signum, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        _prctl(_ADOPT_ORPHANS, 1)  # what a worker started and left behind is ours to end
        for end in self._alarm:
            os.set_blocking(end, False)
        woken, wakes = self._alarm
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        prepare()
        _prctl(_DIE_WITH_PARENT, 0)  # from now on it ends the others first
        gc.freeze()  # a collection in a worker would copy all pages that it looks at
        while True:
            output = [self._output.reader] if self._output else []
            ready = wait([self._pipe, woken, *output])
            if self._output and self._output.reader in ready and not self._output.relay():
                self._end_output()
            if self._pipe in ready and not self._obey():
                return
            if woken in ready:
                os.read(woken, 1024)
                self._collect()

    def _obey(self) -> bool:
        """Do what the service says; returns whether it is still there."""
        try:
            message = json.loads(self._pipe.recv_bytes())
        except (EOFError, OSError):
            _end_all_children()
            return False
        if "run" in message:
            self._fork(message["run"])
        else:
            self._kill()
        return True

    def _fork(self, job: Job) -> None:
        self._report, report = os.pipe()
        self._output = output = Output()
        flush()
        template = os.getpid()
        worker = os.fork()
        if worker == 0:
            signal.set_wakeup_fd(-1)
            self._pipe.close()
            for ours in (*self._alarm, self._report):
                os.close(ours)
            output.take_over()
            in_child(template, lambda: _work_and_report(self._work, job, report))
        os.close(report)
        os.close(output.writer)
        self._worker = worker

    def _kill(self) -> None:
        if self._worker:
            os.kill(self._worker, signal.SIGKILL)

    def _collect(self) -> None:
        """Collect the children that have ended; the worker's end is told to the service."""
        status = None
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == self._worker:
                    status = os.waitstatus_to_exitcode(ended[1])
        if status is None:
            return
        self._worker = 0
        _end_all_children()
        self._end_output()
        self._pipe.send_bytes(json.dumps({"failure": self._failure(status)}).encode())

    def _end_output(self) -> None:
        if self._output:
            self._output.close()
            self._output = None

    def _failure(self, status: int) -> tuple[int, str] | None:
        """Return code and text of why the worker failed, in its own words if it left some."""
        report = b""
        os.set_blocking(self._report, False)
        with suppress(BlockingIOError):  # nothing is there, and an orphan is not quite dead
            report = os.read(self._report, _PIPE_BYTES)
        os.close(self._report)
        if status == 0:
            return None
        if status < 0:
            known = -status in set(signal.Signals)
            name = signal.Signals(-status).name if known else f"signal {-status}"
            hint = "; the system does so when memory runs out" if -status == signal.SIGKILL else ""
            return TASK_RAISED, f"the process of the experiment was ended by {name}{hint}"
        code, _, text = report.decode(errors="replace").partition(" ")
        # What an experiment writes to the pipe by itself is taken with care.
        if code not in (str(LEFT), str(TASK_RAISED)):
            return TASK_RAISED, f"the process of the experiment ended with {status}"
        return int(code), text


def _end_all_children() -> None:
    """Kill all that descends from this process, again and again: what is not dead yet may start more."""
    give_up_at = time.monotonic() + _END_SECONDS
    while (left := psutil.Process().children(recursive=True)) and time.monotonic() < give_up_at:
        for end in (psutil.Process.suspend, psutil.Process.kill):
            for process in left:
                with suppress(psutil.Error):
                    end(process)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def in_child(parent: int, do: Callable[[], None]) -> None:
    """Do something in a process that was just forked, which ends with it, or with its parent."""
    status = 1
    try:
        _prctl(_DIE_WITH_PARENT, signal.SIGKILL)
        if os.getppid() == parent:  # else it has died before we asked
            do()
            status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(Exception):
            flush()
        os._exit(status)


def _work_and_report(work: Callable[[Job], None], job: Job, report: int) -> None:
    """Do a job; why it failed is written to the pipe `report`."""
    os.setsid()  # no terminal: neither does Ctrl-C get here, nor what an experiment types get there
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    for signum in (*STOP_SIGNALS, signal.SIGCHLD):
        signal.signal(signum, signal.SIG_DFL)
    try:
        work(job)
    except BaseException as error:  # whatever an experiment raises ends the experiment only
        code, text = failure_report(error if isinstance(error, Exception) else RuntimeError(repr(error)))
        os.write(report, f"{code} {text[-MAX_REPORT_CHARACTERS:]}".encode(errors="replace"))
        flush()
        os._exit(1)


def _prctl(option: int, value: int) -> None:
    """Set an option of this process, where the system is Linux."""
    if sys.platform == "linux":
        linux.prctl(option, value)


def flush() -> None:
    """Write out what is buffered: a fork would double it."""
    for stream in (sys.stdout, sys.stderr):
        if stream:
            stream.flush()
