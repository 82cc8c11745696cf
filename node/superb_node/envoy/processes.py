"""How an envoy forks processes, and how it ends all that descends from one."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

import psutil

from superb_node.envoy import linux

END_SECONDS = 10.0
"""How long processes that were killed have to die; the memory of a large one is given back meanwhile."""
# Options of Linux' prctl.
_DIE_WITH_PARENT, _ADOPT_ORPHANS = 1, 36


def in_child(parent: int, do: Callable[[], None], on_orphaned: int = signal.SIGKILL) -> NoReturn:
    """Do something in a process that was just forked, then end it.

    Args:
        parent: its process id.
        do: what it does; what it raises is printed.
        on_orphaned: the signal that it gets when the parent dies.
    """
    status = 1
    try:
        _prctl(_DIE_WITH_PARENT, on_orphaned)
        if os.getppid() == parent:  # else it has died before we asked
            do()
            status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(Exception):
            flush()
        os._exit(status)


def outlive_parent() -> None:
    """Go on when the parent dies, such as to end others first."""
    _prctl(_DIE_WITH_PARENT, 0)


def adopt_orphans() -> None:
    """Become the parent of what our descendants leave behind: so it is ours to end."""
    _prctl(_ADOPT_ORPHANS, 1)


def end_all_children(grace_seconds: float = 0.0) -> None:
    """Kill all that descends from this process, again and again: what is not dead yet may start more.

    Args:
        grace_seconds: how long those that end by themselves may take.
    """
    kill_at = time.monotonic() + grace_seconds
    give_up_at = kill_at + END_SECONDS
    while (left := psutil.Process().children(recursive=True)) and time.monotonic() < give_up_at:
        if time.monotonic() < kill_at:
            time.sleep(0.01)
        else:
            _kill(left)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _kill(processes: list[psutil.Process]) -> None:
    for end in (psutil.Process.suspend, psutil.Process.kill):
        for process in processes:
            with suppress(psutil.Error):
                end(process)


def flush() -> None:
    """Write out what is buffered: a fork would double it."""
    for stream in (sys.stdout, sys.stderr):
        if stream:
            stream.flush()


def _prctl(option: int, value: int) -> None:
    """Set an option of this process, where the system is Linux."""
    if sys.platform == "linux":
        linux.prctl(option, value)
