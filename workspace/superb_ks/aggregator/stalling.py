"""Time that a service waits for the other side of a call, and the end of a call that waits too long."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from superb_ks.transport.messages import PART_BYTES

SECONDS_A_PART = 45.0
"""A part of a model has to move in so many seconds of waiting for it: 23 kB a second. A link that is cut for
20 s is mended in that time, and one that a ping finds dead (30 s) counts as broken before it counts as
stalled."""

LOOK_SECONDS = 1.0
"""How often calls are looked at."""


class StalledStream(ConnectionError):
    """A stream whose sender was waited for too long."""


class Watch:
    """Counts the time that is spent waiting for the other side of a call.

    Time in which nothing is asked of it does not count: an upload may wait for its turn.

    Args:
        context: of the call, which is cancelled when its other side was waited for too long.
        seconds: for each part of a model.
    """

    def __init__(self, context: Any, seconds: float) -> None:
        self._context = context
        self.seconds = seconds
        self.stalled = False
        self._waited = 0.0
        self._bytes = 0
        self._waiting_since: float | None = None

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time inside the context."""
        self._waiting_since = started = time.monotonic()
        try:
            yield
        finally:
            self._waiting_since = None
            self._waited += time.monotonic() - started

    def moved(self, nbytes: int) -> None:
        """Note progress; whole parts of a model count, small pieces do not until there are enough of them."""
        self._bytes += nbytes
        if self._bytes >= PART_BYTES:
            self._bytes, self._waited = 0, 0.0

    def give_up_if_stalled(self) -> None:
        """End the call if its other side has been waited for too long."""
        since = self._waiting_since
        if since is not None and self._waited + time.monotonic() - since > self.seconds:
            self.stalled = True
            self._context.cancel()


class WatchedStream:
    """A request's messages; waiting for them is watched.

    Args:
        messages: gRPC's iterator, which blocks.
        watch: of the call.
    """

    def __init__(self, messages: Iterable[Any], watch: Watch) -> None:
        self._messages = iter(messages)
        self._watch = watch

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            with self._watch.waiting():
                message = next(self._messages)
        except (grpc.RpcError, StopIteration):
            # To gRPC, a call that we end may look like one that is complete.
            if self._watch.stalled:
                raise StalledStream(
                    f"sent less than a part in {self._watch.seconds:g} s of waiting"
                ) from None
            raise
        self._watch.moved(len(getattr(message, "npbytes", b"")))
        return message


def sending(answers: Iterable[Any], watch: Watch) -> Iterator[Any]:
    """Yield `answers`, a part of a model each; gRPC asks for the next one when it has room for it."""
    for answer in answers:
        with watch.waiting():
            yield answer
        watch.moved(PART_BYTES)


class Watchdog:
    """Looks at the calls under way every second, on a thread that ends when there are none."""

    def __init__(self) -> None:
        self._watches: set[Watch] = set()
        self._lock = threading.Lock()
        self._runs = False

    @contextmanager
    def watching(self, watch: Watch) -> Iterator[None]:
        """Look at a call inside the context."""
        with self._lock:
            self._watches.add(watch)
            if not self._runs:
                self._runs = True
                threading.Thread(target=self._look, name="stalled calls", daemon=True).start()
        try:
            yield
        finally:
            with self._lock:
                self._watches.discard(watch)

    def _look(self) -> None:
        while True:
            time.sleep(LOOK_SECONDS)
            with self._lock:
                if not self._watches:
                    self._runs = False
                    return
                watches = list(self._watches)
            for watch in watches:
                watch.give_up_if_stalled()
