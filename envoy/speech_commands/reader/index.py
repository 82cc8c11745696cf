"""The index of an archive folder: the header of every file, read once and kept in the user's cache.

A cached index is valid while the size and time stamp of every folder stay the same; adding, removing or
renaming a file changes them. Rewriting a file in place does not: delete the cache after that.
"""

import hashlib
import json
import logging
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speech_commands.reader.cache import cache_root
from superb_node.audio import read_header
from superb_node.errors import DataError
from superb_node.labels import composed, is_litter

VERSION = 2  # raise it with every change of what is stored
COLUMNS = ("keys", "folders", "speakers", "rates", "frames")
SPEAKER = re.compile(r"(?:^|[_/])([0-9a-f]{8})_nohash_\d+\.\w+$")
SETTLE_SECONDS = 2.0  # a folder that changed later could change again within one tick of its time stamp

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class TreeIndex:
    """Every file in the folders below a root, sorted by path; columns have the shape [n].

    Attributes:
        keys: str, path below the root with forward slashes.
        folders: int, index into `folder_names` of the file's folder.
        folder_names: the folders below the root, in order.
        speakers: str, eight hex digits from the file's name, or "".
        rates: int, Hz.
        frames: int, length at that rate; 0 where the file is not readable as audio.
        problems: what is wrong with the unreadable files, by key.
    """

    keys: NDArray[np.str_]
    folders: NDArray[np.int64]
    folder_names: tuple[str, ...]
    speakers: NDArray[np.str_]
    rates: NDArray[np.int64]
    frames: NDArray[np.int64]
    problems: dict[str, str]


def index_tree(root: Path) -> TreeIndex:
    """Index the folders below `root`, from the cache if that is valid.

    Raises:
        DataError: no such folder, or it cannot be listed.
    """
    try:
        stamp = stamp_of(root)
        cached = cache_file(root)
        index = None if cached is None else load(cached, stamp)
        if index is None:
            index = build(root, tuple(name for name, *_ in stamp[1:]))
            if cached is not None:
                save(index, cached, stamp)
        return index
    except OSError as error:
        raise DataError(f"{root}: cannot be listed ({error})") from error


def build(root: Path, folders: tuple[str, ...]) -> TreeIndex:
    """Read the header of every file that is not litter."""
    found = (
        (f"{folder}/{name}", is_file) for folder in folders for name, is_file in visible_files(root / folder)
    )
    entries = sorted(found, key=lambda entry: (composed(entry[0]), entry))
    keys = [key for key, _ in entries]
    rates, frames = np.zeros(len(keys), np.int64), np.zeros(len(keys), np.int64)
    problems = {}
    for row, (key, is_file) in enumerate(entries):
        path = f"{root}/{key}"
        if not is_file:  # such as a pipe, whose opening would wait forever
            problems[key] = f"{path}: not a file"
            continue
        try:
            rates[row], frames[row], _ = read_header(path, path)
        except DataError as error:
            problems[key] = str(error)
    numbers = {folder: number for number, folder in enumerate(folders)}
    return TreeIndex(
        keys=np.array(keys, dtype=np.str_),
        folders=np.array([numbers[key.split("/", 1)[0]] for key in keys], dtype=np.int64),
        folder_names=folders,
        speakers=np.array([speaker_of(key) for key in keys], dtype=np.str_),
        rates=rates,
        frames=frames,
        problems=problems,
    )


def speaker_of(key: str) -> str:
    """Return the speaker in a file name such as `0a7c2a8d_nohash_0.wav`, or "" if it has none."""
    match = SPEAKER.search(key)
    return match.group(1) if match else ""


def stamp_of(root: Path) -> list[tuple[str, int, int]]:
    """Return name, time stamp in ns and size of the root ("") and of each folder in it, in order."""
    status = root.stat()
    with os.scandir(root) as entries:
        folders = [entry for entry in entries if not is_litter(entry.name) and entry.is_dir()]
    stamps = ((folder.name, os.stat(folder)) for folder in sorted(folders, key=lambda folder: folder.name))
    return [
        ("", status.st_mtime_ns, status.st_size),
        *((name, status.st_mtime_ns, status.st_size) for name, status in stamps),
    ]


def visible_files(folder: Path) -> Iterator[tuple[str, bool]]:
    """Yield what a folder holds, except folders and litter: its name and whether it is a file."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if not (is_litter(entry.name) or entry.is_dir()):
                yield entry.name, entry.is_file()


def cache_file(root: Path) -> Path | None:
    """Return where the index of `root` is cached; None for a user without a cache."""
    digest = hashlib.blake2b(os.fsencode(root), digest_size=8).hexdigest()
    with suppress(DataError):
        return cache_root() / "index" / f"{digest}-v{VERSION}.npz"
    return None


def load(path: Path, stamp: list[tuple[str, int, int]]) -> TreeIndex | None:
    """Return the cached index, or None if there is no valid one."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            facts = json.loads(str(stored["facts"]))
            if [tuple(entry) for entry in facts["stamp"]] != stamp:
                return None
            columns = {name: stored[name] for name in COLUMNS}
            return TreeIndex(**columns, folder_names=tuple(facts["folders"]), problems=facts["problems"])
    except FileNotFoundError:
        return None
    except Exception as error:  # a damaged file can raise anything, and it is only a cache
        logger.debug("The cached index %s cannot be read (%s)", path, error)
        return None


def save(index: TreeIndex, path: Path, stamp: list[tuple[str, int, int]]) -> None:
    """Store an index for the next opening; a cache that cannot be written costs only time."""
    if max(changed for _, changed, _ in stamp) > (time.time() - SETTLE_SECONDS) * 1e9:
        return
    facts = json.dumps({"stamp": stamp, "folders": index.folder_names, "problems": index.problems})
    columns = {name: getattr(index, name) for name in COLUMNS}
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=path.parent, suffix=".partial")
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(file, facts=np.array(facts), **columns)
            os.replace(partial, path)
        except BaseException:
            os.unlink(partial)
            raise
