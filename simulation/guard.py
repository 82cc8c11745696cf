"""`python -m simulation.guard FOLDER`: ends what runs for a simulation when its owner ends, in any way.

Whoever runs an engine may be killed at any moment, and Ray must not outlive it. The owner holds the other end
of this program's standard input.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import psutil

VARIABLE = "RAY_TMPDIR"
"""Variable of all that runs for a simulation: the folder in which its Ray works."""
KILL_SECONDS = 30.0
_POLL_SECONDS = 0.2


def groups_of(folder: Path) -> set[int]:
    """Return the process groups of all that runs for the simulation whose Ray works in `folder`.

    The SuperLink starts what runs the simulation in a session of its own, which outlives it. Ray's workers
    write over their environment, but have the group of what started them.
    """
    groups = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            named = process.environ().get(VARIABLE)
            if named == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                groups.add(os.getpgid(process.pid))
    return groups


def end_all(folder: Path) -> set[int]:
    """Kill all that runs for a simulation, and remove Ray's folder; returns the groups that are left."""
    deadline = time.monotonic() + KILL_SECONDS
    while (groups := groups_of(folder)) and time.monotonic() < deadline:
        for group in groups:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)
        time.sleep(_POLL_SECONDS)
    shutil.rmtree(folder, ignore_errors=True)
    return groups


if __name__ == "__main__":
    while os.read(sys.stdin.fileno(), 4096):
        pass
    end_all(Path(sys.argv[1]))
