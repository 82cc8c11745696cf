"""The user's cache: folders that are made once, by the first process that needs them, and never half."""

import fcntl
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from superb_node.errors import DataError

logger = logging.getLogger(__name__)


def cache_root() -> Path:
    """Return `$SUPERB_CACHE`, else `superb-federated` in the user's cache folder.

    Raises:
        DataError: the user has no home folder, and no variable names another.
    """
    try:
        if own := os.environ.get("SUPERB_CACHE"):
            return Path(own).expanduser().resolve()
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        return Path(base).expanduser().resolve() / "superb-federated"
    except RuntimeError as error:  # "~" of a user without a home
        raise DataError("this user has no home folder for a cache; set SUPERB_CACHE to a folder") from error


def make_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """Return `folder`, first filled by `make` if it is not there.

    `make` fills an empty folder next to it, which is renamed once it is complete. One of several processes
    works while the others wait; what a killed process left behind is removed.

    Raises:
        DataError: the cache cannot be written or locked.
    """
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder.parent / f".{folder.name}.lock"):
            if not folder.is_dir():
                fill(folder, make)
    except OSError as error:
        raise DataError(f"{folder}: cannot be written ({error}); set SUPERB_CACHE to another") from error
    return folder


def fill(folder: Path, make: Callable[[Path], None]) -> None:
    """Make `folder` under another name and rename it; the caller holds the lock."""
    for leftover in folder.parent.glob(f"{folder.name}.partial-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    partial = folder.parent / f"{folder.name}.partial-{os.getpid()}"
    partial.mkdir()
    try:
        make(partial)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file lock, which the system releases when the process dies. The file itself stays.

    Raises:
        DataError: the file system has no locks.
    """
    with path.open("w", encoding="utf-8") as file:
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waited_for = path.name[1:].removesuffix(".lock")
                logger.info("Another process is making %s; waiting for it", waited_for)
                fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:  # some network file systems have no locks
            raise DataError(
                f"{path.parent} is on a file system that cannot lock a file ({error.strerror}); set "
                "SUPERB_CACHE to a folder on a local disk"
            ) from error
        yield
