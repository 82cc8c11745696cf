"""The template has libraries and shard loaded, and forks a worker for each experiment.

A worker is ready at once, and shares memory with the template until it changes it. What it took is the
system's again when it ends, and it can be ended in the middle of a task. gRPC does not survive a fork, so the
template never calls it; the service does, the process that a person starts:

    service ── forks, before it calls anybody ──▶ template ── forks, for each experiment ──▶ worker

The service ends the others by ending, however it does: the template notices the end of its pipe, and ends all
that a worker has started before it ends itself.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import Pipe
from typing import Any

from superb_node.envoy.forker import Forker, Job, flush, in_child
from superb_node.stop_signals import STOP_SIGNALS

_END_SECONDS = 5.0
"""How long the template has to end a worker."""


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
        flush()
        service = os.getpid()
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # until the template ignores them
        self.pid = os.fork()
        if self.pid == 0:
            self._pipe.close()
            in_child(service, lambda: Forker(theirs, work).serve(prepare))
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
