"""Folders that belong to one process of a service; files and links that change whole or not at all."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from superb_node.errors import ConfigError

MARKER = ".superb-federated-work"
"""Only folders that hold this file are ever swept."""
OF_ONE_NODE = ("work", "experiments", "approval", "personal")
"""What a director or an envoy keeps in its folder for itself: a copy for another node starts without it."""


@contextmanager
def exclusive_lock(file: Path, role: str, who: str, taken: str) -> Iterator[None]:
    """Keep a second process out while inside.

    The lock file stays: a process that removed it would let two others lock files of the same name.

    Args:
        file: to lock; its folder is made if needed.
        role: "director" or "envoy".
        who: is kept out, such as "envoy named env_one".
        taken: what to say if there is one already.

    Raises:
        ConfigError: there is one, or nothing can be written or locked there.
    """
    try:
        file.parent.mkdir(exist_ok=True)
        lock = file.open("w", encoding="utf-8")
    except OSError as error:
        raise unwritable(file.parent, role, error) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(taken) from error
        except OSError as error:  # some network file systems have no locks
            raise ConfigError(
                f"{file.parent} is on a file system that cannot lock a file ({error.strerror}), so a second "
                f"{who} could not be kept out; copy the folder {file.parent.parent} to a local disk and "
                f"start the {role} there"
            ) from error
        yield


@contextmanager
def own_work_folder(folder: Path, role: str) -> Iterator[Path]:
    """Work in an empty folder; what a crash left there is swept, and the folder goes at the end.

    Raises:
        ConfigError: it holds what is not the service's, or nothing can be written there.
    """
    try:
        if (folder / MARKER).is_file():
            remove_tree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ConfigError(f"{folder} holds files that are not the {role}'s; move them away")
        (folder / MARKER).touch()
    except OSError as error:
        raise unwritable(folder.parent, role, error) from error
    before = Path.cwd()
    os.chdir(folder)
    # Scratch folders of tasks go with the work folder, even if a signal ends the process in between.
    tempfile.tempdir = str(folder)
    try:
        yield folder
    finally:
        os.chdir(before)
        tempfile.tempdir = None
        remove_tree(folder)


@contextmanager
def own_workspace(name: str) -> Iterator[Path]:
    """Make a folder of this name in which an experiment's tasks work; it goes with all that is in it."""
    folder = Path(name).absolute()
    remove_tree(folder)
    folder.mkdir()
    try:
        yield folder
    finally:
        remove_tree(folder)


def remove_tree(folder: Path) -> None:
    """Remove a folder with all that is in it, however deep it is and whatever rights are missing in it."""
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        pass
    except (OSError, RecursionError):  # Python's own gives up there, the system's commands do not
        for command in (["chmod", "-R", "u+rwX"], ["rm", "-rf"]):
            subprocess.run([*command, "--", folder], stderr=subprocess.DEVNULL, check=False)


def unwritable(folder: Path, role: str, error: OSError) -> ConfigError:
    """Return what to say where a service's folder cannot be written."""
    return ConfigError(
        f"{error.filename or folder} cannot be written ({error.strerror}); copy the folder "
        f"{folder.parent} to where you may write, and start the {role} there"
    )


def replace_file(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Write a file whole or not at all; one that is there gives way.

    Args:
        path: of the file.
        content: all of it.
        mode: its rights, less those that the process takes from every file.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with open(partial, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.write(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def point_latest_to(run: Path) -> None:
    """Point the link `latest`, next to a run's folder, to it, in one step.

    Raises:
        OSError: it cannot be done, for instance because `latest` is a folder.
    """
    with tempfile.TemporaryDirectory(prefix=".latest-", dir=run.parent) as folder:
        link = Path(folder) / "link"
        link.symlink_to(run.name)
        os.replace(link, run.parent / "latest")
