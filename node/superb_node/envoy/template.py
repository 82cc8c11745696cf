"""The template has libraries and shard loaded, and forks a worker for each experiment.

A worker is ready at once, and shares memory with the template until it changes it. What it took is the
system's again when it ends, and it can be ended in the middle of a task. gRPC does not survive a fork, so the
template never calls it; the service does, the process that a person starts:

    service ── forks, before it calls anybody ──▶ template ── forks, for each experiment ──▶ guard ──▶ worker

The service ends the others by ending, however it does: the template notices the end of its pipe, and ends all
that a worker has started before it ends itself. Without Landlock's scope of signals there is no guard.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import Pipe
from typing import Any

from superb_node.envoy.forker import Forker, Job
from superb_node.envoy.guard import end_all_guarded
from superb_node.envoy.processes import adopt_orphans, flush, in_child
from superb_node.stop_signals import STOP_SIGNALS

FINISH_SECONDS = 1.0
"""So long a worker that is no longer wanted may take to end by itself: its experiment may just be over."""
END_SECONDS, STOP_SECONDS = 60.0, 5.0
"""How long the template has to end a worker, whose memory may take a while to be given back; and how long if
the service is being stopped, which ends all its processes anyway."""


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
        self._at_work = False
        flush()
        adopt_orphans()  # those that the template would leave, if it were killed
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
            TemplateEnded: the template died, or a worker did not.
        """
        try:
            self._send({"run": job})
            self._at_work = True
            while not self._pipe.poll(ask_seconds):
                if not still_wanted() and not self._pipe.poll(FINISH_SECONDS):
                    self._end_worker(END_SECONDS)
                    return False
            answer = self._receive()
        except Exception:
            self._end_worker(END_SECONDS)
            raise
        except BaseException:  # the service is being stopped
            with suppress(TemplateEnded):
                self._end_worker(STOP_SECONDS)
            raise
        if answer["failure"] is not None:
            raise WorkerFailed(*answer["failure"])
        return True

    def close(self) -> None:
        """End the template, and whatever is left of a worker."""
        with suppress(OSError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        self._pipe.close()
        end_all_guarded()

    def _end_worker(self, seconds: float) -> None:
        if not self._at_work:
            return
        self._send({"end": True})
        if self._pipe.poll(seconds):
            self._receive()
            return
        self._at_work = False  # a late answer would be taken for the next worker's
        raise TemplateEnded(
            f"envoy: an experiment's process did not end within {seconds:.0f} s, so the envoy ends; "
            "start it again"
        )

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._pipe.send_bytes(json.dumps(message).encode())
        except OSError as error:
            raise self._ended() from error

    def _receive(self) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = json.loads(self._pipe.recv_bytes())
            self._at_work = False
            return answer
        except (EOFError, OSError) as error:
            raise self._ended() from error

    def _ended(self) -> TemplateEnded:
        self._at_work = False
        return TemplateEnded("envoy: the process that workers are forked from has ended")
