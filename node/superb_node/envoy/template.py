"""The template has libraries and shard loaded, and forks a worker for each experiment.

A worker is ready at once, and shares memory with the template until it changes it. What it took is the
system's again when it ends, and it can be ended in the middle of a task. gRPC does not survive a fork, so the
template never calls it; the service does, the process that a person starts:

    service ── forks, before it calls anybody ──▶ template ── forks, for each experiment ──▶ worker

The service ends the others by ending, however it does: the template notices the end of its pipe, and ends all
that a worker has started before it ends itself.
"""

from __future__ import annotations

import ctypes
import gc
import json
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any

import psutil

from superb_node.envoy.output import Output
from superb_node.envoy.participation import failure_report
from superb_node.reports import LEFT, TASK_RAISED
from superb_node.stop_signals import STOP_SIGNALS

logger = logging.getLogger("envoy")

Job = dict[str, Any]
"""What a worker is told of its experiment; it travels as JSON."""

MAX_REPORT_CHARACTERS = 10_000
"""Of a failure: as UTF-8 it fits into a pipe that nobody reads yet."""
_PIPE_BYTES = 65_536
_END_SECONDS = 5.0
# Options of Linux' prctl.
_DIE_WITH_PARENT, _ADOPT_ORPHANS = 1, 36


class WorkerFailed(Exception):
    """A worker did not do its job.

    Attributes:
        code: of `superb_node.reports`, for the director.
        text: why, with a traceback if there is one.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text


class TemplateEnded(SystemExit):
    """The template is gone, which ends the envoy: it cannot be forked a second time."""


class Template:
    """The service's end of the template.

    Args:
        prepare: is called in the template at its start, such as to import libraries.
        work: does a job, in a process of its own; what it raises comes back as `WorkerFailed`.
    """

    def __init__(self, prepare: Callable[[], None], work: Callable[[Job], None]) -> None:
        self._pipe, theirs = Pipe()
        _flush()
        service = os.getpid()
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # until the template ignores them
        self.pid = os.fork()
        if self.pid == 0:
            self._pipe.close()
            _in_child(service, lambda: _Forker(theirs, work).serve(prepare))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        theirs.close()

    def run(self, job: Job, still_wanted: Callable[[], bool], ask_seconds: float) -> bool:
        """Do a job in a worker; returns False if it was ended because nobody wants it any more.

        Whatever ends this call ends the worker.

        Args:
            job: for `work`.
            still_wanted: is asked again and again while the worker is at work.
            ask_seconds: between two such questions.

        Raises:
            WorkerFailed: `work` raised, or the worker died.
            TemplateEnded: the template died.
        """
        answer = None
        try:
            self._send({"run": job})
            while answer is None:
                if self._pipe.poll(ask_seconds):
                    answer = self._receive()
                elif not still_wanted():
                    return False
        finally:
            if answer is None:
                self._end_worker()
        if answer["failure"] is not None:
            raise WorkerFailed(*answer["failure"])
        return True

    def close(self) -> None:
        """End the template; a worker is ended by `run`."""
        with suppress(OSError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        self._pipe.close()

    def _end_worker(self) -> None:
        with suppress(TemplateEnded):
            self._send({"end": True})
            if self._pipe.poll(_END_SECONDS):
                self._receive()
            else:  # a late answer would be taken for the next worker's
                self.close()

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._pipe.send_bytes(json.dumps(message).encode())
        except OSError as error:
            raise self._ended() from error

    def _receive(self) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = json.loads(self._pipe.recv_bytes())
            return answer
        except (EOFError, OSError) as error:
            raise self._ended() from error

    def _ended(self) -> TemplateEnded:
        return TemplateEnded("envoy: the process that workers are forked from has ended")


class _Forker:
    """The template itself.

    Args:
        pipe: to the service.
        work: see `Template`.
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
        _flush()
        template = os.getpid()
        worker = os.fork()
        if worker == 0:
            signal.set_wakeup_fd(-1)
            self._pipe.close()
            for ours in (*self._alarm, self._report):
                os.close(ours)
            output.take_over()
            _in_child(template, lambda: _work_and_report(self._work, job, report))
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


def _in_child(parent: int, do: Callable[[], None]) -> None:
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
            _flush()
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
        _flush()
        os._exit(1)


def _prctl(option: int, value: int) -> None:
    """Set an option of this process, where the system is Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value))


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream:
            stream.flush()
