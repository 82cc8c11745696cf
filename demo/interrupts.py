"""Ctrl-C, a closed terminal and `kill` all end the demo in the same orderly way."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """A signal asked the demo to end; `exit_code` is what a shell expects then, 130 for Ctrl-C."""

    def __init__(self, number: int) -> None:
        self.exit_code = 128 + number
        super().__init__(signal.Signals(number).name)


@contextmanager
def raise_interrupted() -> Iterator[None]:
    """Turn the signals into `Interrupted`, raised in the main thread."""

    def handler(number: int, _frame: FrameType | None) -> None:
        raise Interrupted(number)

    yield from _with_handler(handler)


@contextmanager
def ignored() -> Iterator[None]:
    """Take no notice of the signals: for the last steps of cleaning up."""
    yield from _with_handler(signal.SIG_IGN)


@contextmanager
def held_back() -> Iterator[None]:
    """Deliver a signal that comes during the block when the block has ended.

    A service that is started but not yet noted down is the one thing that nobody could stop.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Signals go to the main thread only.
        return
    waiting: list[int] = []
    try:
        yield from _with_handler(lambda number, _frame: waiting.append(number))
    finally:
        if waiting:
            signal.raise_signal(waiting[0])


def _with_handler(handler: Any) -> Iterator[None]:
    before = [signal.signal(number, handler) for number in SIGNALS]
    try:
        yield
    finally:
        for number, previous in zip(SIGNALS, before, strict=True):
            # None: installed by other means than Python's, which cannot put it back.
            signal.signal(number, signal.SIG_DFL if previous is None else previous)
