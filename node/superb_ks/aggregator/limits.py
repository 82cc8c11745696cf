"""What a caller may hold of the aggregator: bytes, threads, and time.

OpenFL's service runs on gRPC's threads. A call takes one from its first byte to its last, also while it waits
for a message that never comes.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote

import grpc

from superb_ks.aggregator.authorization import Refused
from superb_ks.transport.parts import PART_BYTES

logger = logging.getLogger(__name__)

MAX_THREADS = 256
"""Collaborators that wait for the next round or for their turn to upload, or that fetch a model, hold one
thread each; so does a call that sends or takes nothing, until it times out. A thread is started when there is
none to spare."""

MAX_CALLS_PER_CALLER = 16
"""Calls that the owner of one certificate may have under way, over however many connections. It needs one;
the others are for those whose connection has broken, which takes 30 s to show."""

MESSAGE_TIMEOUT_SECONDS = 10.0
"""The first message of a call, which is short and is sent with the call's headers."""

PART_TIMEOUT_SECONDS = 45.0
"""The seconds of waiting in which a part of a model has to move: 23 kB a second. A link that is cut for
20 s is mended in that time, and one that a ping finds dead (30 s) counts as broken before it counts as
stalled."""

WATCH_SECONDS = 1.0
"""Between two looks at a call under way."""

MAX_MESSAGE_BYTES = 4 * 2**20
"""Bytes of one message: a part of a model is a fourth of it, and the metrics of a task less."""

SERVER_OPTIONS: dict[str, int] = {
    # Corrects: OpenFL takes messages of 1 GiB, from anybody, into memory.
    "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
    # Bytes that are taken in of an upload that waits for its turn. By itself gRPC takes in more the faster
    # the line is, tens of MiB on the loopback, times the envoys, and measures the line all the time.
    "grpc.http2.bdp_probe": 0,
    "grpc.http2.lookahead_bytes": 4 * 2**20,
}
"""Options of gRPC's server, besides those that the director gives every server of its process."""


class StalledStream(ConnectionError):
    """A stream whose sender was waited for too long."""


class CallsUnderWay:
    """Counts the calls under way of each caller whose name is known."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def one_more(self, caller: str) -> Iterator[None]:
        """Count a call of `caller` inside the context; an empty name has no limit.

        Raises:
            Refused: it has as many as it may; a collaborator tries again.
        """
        with self._lock:
            if caller and self._counts[caller] >= MAX_CALLS_PER_CALLER:
                raise Refused(grpc.StatusCode.UNAVAILABLE, f"{caller} has too many calls under way")
            self._counts[caller] += 1
        try:
            yield
        finally:
            with self._lock:
                self._counts[caller] -= 1


class TimedCall:
    """A call that is cancelled when its other side is waited for too long; in force inside the context.

    Only the time that is spent waiting counts, because an upload may itself wait for its turn. A thread looks
    every second whether the call waits: there is no way to give gRPC's own waiting a time limit.

    Args:
        context: gRPC's, of the call.

    Attributes:
        timeout: seconds of waiting in which a part of a model has to move.
    """

    def __init__(self, context: Any) -> None:
        self.timeout = MESSAGE_TIMEOUT_SECONDS
        self._context = context
        self._is_over = threading.Event()
        self._is_waiting = self._timed_out = False
        self._waited = 0.0
        self._bytes = 0

    def __enter__(self) -> TimedCall:
        threading.Thread(target=self._watch, name="call under way", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()

    def receive(self, messages: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the messages of gRPC's iterator, which blocks.

        Raises:
            StalledStream: the next part did not arrive in time, however many small pieces did.
        """
        self._is_waiting = True
        try:
            for message in messages:
                self._is_waiting = False
                self._moved(len(message))
                yield message
                self._is_waiting = True
        except grpc.RpcError:
            if not self._timed_out:
                raise
        self._is_waiting = False
        if self._timed_out:  # gRPC may tell of a call that we end as of one that is complete
            raise StalledStream(f"sent less than a part in {self.timeout:g} s of waiting")

    def send(self, answers: Iterable[Any]) -> Iterator[Any]:
        """Yield the answers, a part of a model each; gRPC asks for the next one when it has room for it."""
        for answer in answers:
            self._is_waiting = True
            yield answer
            self._is_waiting = False
            self._moved(PART_BYTES)

    def _moved(self, nbytes: int) -> None:
        self._bytes += nbytes
        if self._bytes >= PART_BYTES:  # small pieces are no progress until they make up a part
            self._bytes, self._waited = 0, 0.0

    def _watch(self) -> None:
        while not self._is_over.wait(WATCH_SECONDS):
            if self._is_waiting:
                self._waited += WATCH_SECONDS
            if self._waited > self.timeout:
                peer = unquote(self._context.peer())
                logger.warning(
                    "Gave up a call of %s: less than a part in %g s of waiting", peer, self.timeout
                )
                self._timed_out = True
                self._context.cancel()
                return
