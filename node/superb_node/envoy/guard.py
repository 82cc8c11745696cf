"""A process between the template and a worker, which ends all that the worker has started at one stroke.

Processes that fork and exit in turn are never all in a list. `kill(-1)` is one call of the kernel, during
which nobody can fork, but it means all processes of the account. From inside a Landlock domain that scopes
signals it means those of the domain: the worker and what descends from it.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable
from contextlib import suppress

from superb_node.envoy import landlock
from superb_node.envoy.processes import end_all_children, in_child

END = signal.SIGUSR1
"""Ends a guard, and before that what it guards; the kernel sends it, too, when the template dies."""
AWAITED = (END, signal.SIGCHLD)
"""Blocked where a guard is forked, so that none comes too early."""
_GRACE_SECONDS = 5.0


class NoGuard(Exception):
    """The kernel does not keep our signals inside."""


def possible() -> bool:
    """Return whether this kernel can keep the signals of a process inside."""
    return landlock.abi() >= landlock.SCOPE_ABI


def end_all_guarded() -> None:
    """Kill all that descends from this process; a guard that was told to end has time to do it better."""
    end_all_children(_GRACE_SECONDS if possible() else 0.0)


def guard(outsider: int, do: Callable[[], None]) -> None:
    """Do something in a worker; then end all that was started there, and end as the worker did.

    Args:
        outsider: the process id of the template, which no signal from here may reach.
        do: what the worker does.

    Raises:
        OSError: the kernel refuses.
        NoGuard: a signal could get out.
    """
    os.setsid()  # a terminal's signals are for the service
    for signum in AWAITED:
        signal.signal(signum, signal.SIG_DFL)
    _keep_signals_inside(outsider)
    own = os.getpid()
    if (worker := os.fork()) == 0:
        in_child(own, do)
    ended, status = 0, 0
    while not ended and signal.sigwait(AWAITED) != END:
        ended, status = os.waitpid(worker, os.WNOHANG)
    with suppress(ProcessLookupError):  # nobody is left
        os.kill(-1, signal.SIGKILL)
    if not ended:
        _, status = os.waitpid(worker, 0)
    _end_like(os.waitstatus_to_exitcode(status))


def _keep_signals_inside(outsider: int) -> None:
    """Enter a domain of our own, and make sure that from here no signal reaches another process."""
    landlock.scope_signals()
    try:
        os.kill(outsider, 0)
    except PermissionError:
        return
    raise NoGuard(f"Landlock {landlock.abi()} lets a signal out of its domain")


def _end_like(exit_code: int) -> None:
    """End by the signal, or with the status, that ended the worker."""
    if exit_code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the worker has left one, if it is wanted
        if -exit_code != signal.SIGKILL:
            signal.signal(-exit_code, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [-exit_code])
        os.kill(os.getpid(), -exit_code)
    os._exit(exit_code)
