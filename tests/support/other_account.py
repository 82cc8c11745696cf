"""Another account of this machine: what a command is run with to be one."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from superb_node import local_socket

# An account that no machine has; each process of tests has one, since they remove its folder of sockets.
UID = 50_000 + os.getpid() % 10_000
# What it may read, root has to let it, for Python may lie in root's home.
NOBODY = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]
NOBODY += ["--inh-caps=-all,+dac_read_search", "--ambient-caps=+dac_read_search"]
# The same without that right, for programs of the system.
STRANGER = [*NOBODY[:4], "--inh-caps=-all", "--ambient-caps=-all"]


@functools.cache
def why_not() -> str:
    """Return why no command can be run as another account here; empty if it can."""
    if os.geteuid() != 0:
        return "only root can be another account"
    try:
        subprocess.run([*NOBODY, sys.executable, "-c", ""], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        return f"setpriv does not make root another account here: {error}"
    return ""


def unprivileged() -> tuple[str, ...]:
    """Return what a command is run with so that the rights of files count."""
    if os.geteuid() != 0:
        return ()
    if reason := why_not():
        pytest.skip(reason)
    return tuple(NOBODY)


def forget() -> None:
    """Remove the folder that the account's programs have for their sockets."""
    shutil.rmtree(local_socket.FOLDERS / f"{local_socket.NAME}{UID}", ignore_errors=True)


def open_to_all(folder: Path) -> None:
    """Let other accounts come as far as `folder`, below /tmp."""
    for above in (folder, *folder.parents):
        if above.stat().st_uid == os.geteuid() and above != Path("/") and above.is_relative_to("/tmp"):
            above.chmod(above.stat().st_mode | 0o055)
