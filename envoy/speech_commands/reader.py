"""The Speech Commands layout (a training and a test archive folder), split as SUPERB splits it.

Training clips are what neither list names, validation is what `validation_list.txt` names, and what
`testing_list.txt` names belongs to neither; the test archive is a folder of its own. Opening reads names and
headers only.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .audio import read_header
from .errors import DataError
from .labels import LABELS, SILENCE, keyword_ids, label_of
from .silence import draw_crops
from .table import ClipTable, Split

SPLITS = ("train", "val", "test")
TRAIN_FOLDER = "speech_commands_v0.01"
TEST_FOLDER = "speech_commands_test_set_v0.01"
BACKGROUND = "_background_noise_"
VALIDATION_LIST = "validation_list.txt"
TESTING_LIST = "testing_list.txt"

SPEAKER = re.compile(r"(?:^|_)([0-9a-f]{8})_nohash_\d+\.\w+$")


def read_folders(
    train_dir: Path, test_dir: Path, labels: tuple[str, ...] = LABELS, seed: int = 0
) -> dict[str, Split]:
    """Index the two archive folders.

    Args:
        train_dir: folder of the training archive.
        test_dir: folder of the test archive.
        labels: class names in the order of their ids.
        seed: of the silence crops.

    Returns:
        "train", "val" and "test", each sorted by path, silence crops last.

    Raises:
        DataError: a folder or list is missing, a split is empty, a file is not audio.

    """
    words = read_tree(train_dir, labels)
    validation = read_list(train_dir / VALIDATION_LIST, required=True)
    testing = read_list(train_dir / TESTING_LIST, required=False)
    in_val = np.array([key in validation for key in words.keys], dtype=bool)
    in_neither = np.array([key in testing for key in words.keys], dtype=bool)
    tables = {
        "train": words.take(~in_val & ~in_neither),
        "val": words.take(in_val & ~in_neither),
        "test": read_tree(test_dir, labels),
    }
    for split, table in tables.items():
        if not len(table):
            raise DataError(f"{test_dir if split == 'test' else train_dir}: split {split!r} is empty")
    if SILENCE in labels:
        recordings = read_backgrounds(train_dir, labels)
        for split in ("train", "val"):
            tables[split] += draw_crops(recordings, mean_keyword_count(tables[split], labels), split, seed)
    roots = {"train": train_dir, "val": train_dir, "test": test_dir}
    return {split: folder_split(roots[split], table) for split, table in tables.items()}


def folder_split(root: Path, table: ClipTable) -> Split:
    """Join a table with the folder that its keys are relative to."""
    prefix = str(root)
    return Split(table, lambda key: os.path.join(prefix, key), prefix)


def read_tree(root: Path, labels: tuple[str, ...]) -> ClipTable:
    """Index every class folder below `root`, sorted by path; `_background_noise_` is not one."""
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; a Speech Commands archive folder is wanted here")
    folders = [name for name in visible(root) if name != BACKGROUND and (root / name).is_dir()]
    wanted = {name: label for name in folders if (label := label_of(name, labels)) is not None}
    keys = [f"{folder}/{name}" for folder in wanted for name in visible(root / folder)]
    return read_clips(root, sorted(keys), [wanted[key.split("/")[0]] for key in sorted(keys)])


def read_backgrounds(root: Path, labels: tuple[str, ...]) -> ClipTable:
    """Index the long background recordings that silence is cut from."""
    folder = root / BACKGROUND
    names = [name for name in visible(folder) if name.endswith(".wav")] if folder.is_dir() else []
    if not names:
        raise DataError(f"{folder}: no background recordings (*.wav), which {SILENCE} clips are cut from")
    keys = [f"{BACKGROUND}/{name}" for name in sorted(names)]
    return read_clips(root, keys, [labels.index(SILENCE)] * len(keys))


def read_clips(root: Path, keys: list[str], labels: list[int]) -> ClipTable:
    """Read the header of every clip named and make a table of them, in the order given."""
    headers = [read_header(name := f"{root}/{key}", name) for key in keys]
    return ClipTable(
        keys=np.array(keys, dtype=np.str_),
        labels=np.array(labels, dtype=np.int64),
        speakers=np.array([speaker_of(key) for key in keys], dtype=np.str_),
        rates=np.array([header.rate for header in headers], dtype=np.int64),
        starts=np.zeros(len(keys), dtype=np.int64),
        frames=np.array([header.frames for header in headers], dtype=np.int64),
    )


def read_list(path: Path, required: bool) -> set[str]:
    """Read `validation_list.txt` or `testing_list.txt`: a path below the archive folder on each line."""
    try:
        return {line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()}
    except FileNotFoundError as error:
        if not required:
            return set()
        raise DataError(f"{path}: missing; it names the validation clips") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a readable UTF-8 text ({error})") from error


def speaker_of(key: str) -> str:
    """Return the speaker in a file name such as `0a7c2a8d_nohash_0.wav`, or "" where there is none."""
    match = SPEAKER.search(os.path.basename(key))
    return match.group(1) if match else ""


def mean_keyword_count(table: ClipTable, labels: tuple[str, ...]) -> int:
    """Return how many clips the average keyword has."""
    words = keyword_ids(labels)
    return round(int(np.isin(table.labels, words).sum()) / len(words))


def visible(folder: Path) -> Iterator[str]:
    """Yield the names in a folder that are not hidden, in no particular order."""
    with os.scandir(folder) as entries:
        yield from (entry.name for entry in entries if not entry.name.startswith("."))
