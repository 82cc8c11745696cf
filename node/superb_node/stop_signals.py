"""Ctrl-C and SIGTERM end a service in the middle of whatever it does, with one line."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StoppedBySignal(BaseException):
    """Raised in the main thread by SIGINT and SIGTERM."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


def stop_on_signals() -> None:
    """Turn SIGINT and SIGTERM into `StoppedBySignal`; a second one is ignored while the service cleans up."""

    def stop(signum: int, _: object) -> None:
        for each in STOP_SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise StoppedBySignal(signum)

    def send_again(unraisable: Any) -> None:
        if not isinstance(unraisable.exc_value, StoppedBySignal):
            sys.__unraisablehook__(unraisable)
            return
        # Python drops what is raised inside a finalizer: the signal comes again when that is over.
        signum = unraisable.exc_value.signum
        signal.signal(signum, stop)
        threading.Timer(0.05, os.kill, (os.getpid(), signum)).start()

    sys.unraisablehook = send_again
    for signum in STOP_SIGNALS:
        signal.signal(signum, stop)
