"""The template's own work: it forks workers, tells how they ended, and ends all that they have started."""

from __future__ import annotations

import gc
import json
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from superb_node.envoy import guard
from superb_node.envoy.guard import end_all_guarded
from superb_node.envoy.output import MAX_OUTPUT, Output
from superb_node.envoy.participation import failure_report
from superb_node.envoy.processes import adopt_orphans, end_all_children, flush, in_child, outlive_parent
from superb_node.reports import LEFT, TASK_RAISED
from superb_node.stop_signals import STOP_SIGNALS

Job = dict[str, Any]
"""What a worker is told of its experiment; it travels as JSON."""

MAX_REPORT_CHARACTERS = 10_000
"""Of a failure: as UTF-8 it fits into a pipe that nobody reads yet."""
_PIPE_BYTES = 65_536
_DONE = b"done"
"""A worker's last word when it has done its work."""


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
        self._guarded = guard.possible()
        self._child = 0  # the worker, or its guard, which ends as the worker does
        self._report = -1
        self._output: Output | None = None
        self._experiment_id, self._may_print = None, MAX_OUTPUT  # of all workers of one experiment

    def serve(self, prepare: Callable[[], None]) -> None:
        """Fork workers until the service ends."""
        for signum in STOP_SIGNALS:  # a terminal sends them to all; the service decides
            signal.signal(signum, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        adopt_orphans()
        for end in self._alarm:
            os.set_blocking(end, False)
        woken, wakes = self._alarm
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        prepare()
        outlive_parent()  # from now on it ends the others first
        gc.freeze()  # a collection in a worker would copy all pages that it looks at
        while True:
            output = [self._output.reader] if self._output else []
            ready = wait([self._pipe, woken, *output])
            if self._pipe in ready and not self._obey():
                return
            if self._output and self._output.reader in ready and not self._output.relay():
                self._end_output()
            if woken in ready:
                os.read(woken, 1024)
                self._collect()

    def _obey(self) -> bool:
        """Do what the service says; returns whether it is still there."""
        try:
            message = json.loads(self._pipe.recv_bytes())
        except (EOFError, OSError):
            self._kill()
            end_all_guarded()
            return False
        if "run" in message:
            self._fork(message["run"])
        else:
            self._kill()
        return True

    def _fork(self, job: Job) -> None:
        self._report, report = os.pipe()
        if job.get("id") != self._experiment_id:
            self._experiment_id, self._may_print = job.get("id"), MAX_OUTPUT
        self._output = output = Output(self._may_print)
        flush()
        template = os.getpid()
        signal.pthread_sigmask(signal.SIG_BLOCK, guard.AWAITED)
        child = os.fork()
        if child == 0:
            signal.set_wakeup_fd(-1)
            self._pipe.close()
            for ours in (*self._alarm, self._report):
                os.close(ours)
            output.take_over()

            def work() -> None:
                _work_and_report(self._work, job, report)

            if self._guarded:
                in_child(template, lambda: guard.guard(template, work), on_orphaned=guard.END)
            in_child(template, work)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, guard.AWAITED)
        os.close(report)
        os.close(output.writer)
        self._child = child

    def _kill(self) -> None:
        if self._child:
            os.kill(self._child, guard.END if self._guarded else signal.SIGKILL)

    def _collect(self) -> None:
        """Collect the children that have ended; the worker's end is told to the service."""
        status = None
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == self._child:
                    status = os.waitstatus_to_exitcode(ended[1])
        if status is None:
            return
        self._child = 0
        end_all_children()
        self._end_output()
        self._pipe.send_bytes(json.dumps({"failure": self._failure(status)}).encode())

    def _end_output(self) -> None:
        if self._output:
            self._output.close()
            self._may_print = self._output.left
            self._output = None

    def _failure(self, status: int) -> tuple[int, str] | None:
        """Return code and text of why the worker failed, in its own words if it left some."""
        report = b""
        os.set_blocking(self._report, False)
        with suppress(BlockingIOError):  # nothing is there, and an orphan is not quite dead
            report = os.read(self._report, _PIPE_BYTES)
        os.close(self._report)
        if status == 0:
            unfinished = TASK_RAISED, "the process of the experiment ended before its work was done"
            return None if report == _DONE else unfinished
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


def _work_and_report(work: Callable[[Job], None], job: Job, report: int) -> None:
    """Do a job; why it failed is written to the pipe `report`."""
    os.setsid()  # no terminal: neither does Ctrl-C get here, nor what an experiment types get there
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    for signum in (*STOP_SIGNALS, signal.SIGCHLD):
        signal.signal(signum, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, guard.AWAITED)
    os.set_blocking(report, False)  # an experiment may have filled it
    try:
        work(job)
        os.write(report, _DONE)
    except BaseException as error:  # whatever an experiment raises ends the experiment only
        code, text = failure_report(error if isinstance(error, Exception) else RuntimeError(repr(error)))
        with suppress(BlockingIOError):
            os.write(report, f"{code} {text[-MAX_REPORT_CHARACTERS:]}".encode(errors="replace"))
        flush()
        os._exit(1)
