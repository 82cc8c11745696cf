"""The Unix sockets by which programs of one account reach each other without TLS, and nobody else does.

They lie in a folder that only its account can enter, so the kernel keeps every other account from calling a
director of ours, and from being taken for one. A socket has the number of a port for a name.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from superb_node.errors import ConfigError
from superb_node.tls_diagnosis import why_refused

HOST = "unix"
"""Stands where gRPC's addresses have a host; the socket's path then stands where they have a port."""
FOLDERS = Path("/tmp")
"""The same for all programs of an account, whatever TMPDIR and HOME say, and with a short path: the kernel
takes one of about 100 characters."""
NAME = "superb-federation-"


def path(port: object) -> str:
    """Return the path of the socket that stands for a port of this account.

    Raises:
        ConfigError: `port` is none, or the folder is not this account's alone.
    """
    text = str(port)
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
        raise ConfigError(f"port {port!r}; legal: 1 to 65535")
    return str(private_folder(FOLDERS / f"{NAME}{os.geteuid()}") / str(int(text)))


def shown(host: str, port: object) -> str:
    """Return an address as people know it: that of a socket as the port for which it stands."""
    return f"localhost:{Path(str(port)).name}" if host == HOST else f"{host}:{port}"


@contextmanager
def only_listener(port: int) -> Iterator[str]:
    """Take the socket of a port while inside; yields its path, which a server may then bind.

    What a killed process left there gives way.

    Raises:
        OSError: another program of this account has it (EADDRINUSE), or there is no room for a file.
        ConfigError: as of `path`.
    """
    socket = Path(path(port))
    # gRPC takes the place of any socket, also of one that somebody listens on; the lock is what counts. The
    # system drops it when its holder ends.
    file = socket.with_suffix(".lock")
    with _locked(file, shown(HOST, socket)):
        socket.unlink(missing_ok=True)
        try:
            yield str(socket)
        finally:
            socket.unlink(missing_ok=True)
            file.unlink(missing_ok=True)


def _locked(file: Path, address: str) -> TextIO:
    """Make and lock a file, which its holder removes before it gives up the lock; returns the file, open.

    Raises:
        OSError: somebody else has it.
    """
    while True:
        lock = file.open("w", encoding="utf-8")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock.fileno()), file.stat()):
                return lock
        except FileNotFoundError:
            pass  # the one before has removed what we locked
        except BlockingIOError as error:
            lock.close()
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), address) from error
        lock.close()


@functools.cache
def private_folder(folder: Path) -> Path:
    """Make a folder that only this account can enter, unless it is there; returns `folder`.

    It stays open, with a lock, as long as this process lives: programs that tidy /tmp leave it alone then,
    and nobody else can come by its name.

    Raises:
        ConfigError: it is another account's, or others can enter it or put one in its place.
    """
    try:
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        above = folder.parent.stat()
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise _not_ours(folder, error.strerror) from error
    found = os.fstat(descriptor)
    if found.st_uid != os.geteuid():
        fault = f"it belongs to account {found.st_uid}"
    elif stat.S_IMODE(found.st_mode) & 0o777 != 0o700:
        fault = f"its mode is {stat.S_IMODE(found.st_mode):o}, not 700"
    elif above.st_mode & 0o022 and not above.st_mode & stat.S_ISVTX:
        fault = f"anybody may replace what is in {folder.parent}, which is not sticky (mode 1777)"
    else:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        return folder
    os.close(descriptor)
    raise _not_ours(folder, fault)


def who_else(address: str) -> str:
    """Return, for a message that this account has no director, where there may be one; empty if nowhere.

    Args:
        address: as of `shown`.
    """
    own = f"{NAME}{os.geteuid()}"
    if why_refused("localhost", int(address.rpartition(":")[2]), None):
        return f". Something at {address} speaks TLS: a call there needs certificates"
    if any(found.name != own for found in FOLDERS.glob(f"{NAME}[0-9]*")):
        return ". Other accounts have directors or envoys on this machine: across accounts use make certs"
    return ""


def _not_ours(folder: Path, fault: str | None) -> ConfigError:
    return ConfigError(
        f"{folder} must be a folder of this account with mode 700, but {fault}; have it removed, or use TLS "
        "(make certs)"
    )
