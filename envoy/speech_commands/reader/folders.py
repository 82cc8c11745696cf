"""The Speech Commands layout (a training and a test archive folder), split as SUPERB splits it.

Training clips are what neither list names, validation is what `validation_list.txt` names, and what
`testing_list.txt` names belongs to neither; the test archive is a folder of its own. Without that archive the
testing list may name the test split. Opening reads names and headers only.
"""

import logging
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from speech_commands.errors import DataError
from speech_commands.reader.index import TreeIndex, index_tree
from speech_commands.reader.labels import (
    BACKGROUND,
    LABELS,
    SILENCE,
    TESTING_LIST,
    is_background,
    keyword_ids,
    label_of,
    list_key,
    read_lines,
)
from speech_commands.reader.silence import STRETCHES, STRETCHES_WITH_TEST, draw_crops
from speech_commands.reader.table import ClipTable, Corpus, Split

SPLITS = ("train", "val", "test")
TRAIN_FOLDER = "speech_commands_v0.01"
TEST_FOLDER = "speech_commands_test_set_v0.01"
VALIDATION_LIST = "validation_list.txt"

logger = logging.getLogger(__name__)


def read_folders(
    train_dir: Path,
    test_dir: Path | None,
    labels: tuple[str, ...] = LABELS,
    seed: int = 0,
    on_bad_clip: str = "error",
) -> Corpus:
    """Index the two archive folders.

    Args:
        train_dir: folder of the training archive.
        test_dir: folder of the test archive; None: what the testing list names is the test split.
        labels: class names in the order of their ids.
        seed: of the silence crops.
        on_bad_clip: "error", or "skip" files that are not audio.

    Returns:
        splits sorted by path, silence crops last.

    Raises:
        DataError: a folder or list is missing, a split is empty, a file is not audio.

    """
    train_index = require_tree(train_dir)
    # Missing where the folder above the archive, or any other, was named.
    validation = read_list(train_dir / VALIDATION_LIST, required=True)
    words, problems = table_of(train_index, labels, on_bad_clip)
    tables = split_by_lists(words, train_dir, validation)
    listed = tables.pop("listed")
    if test_dir is None:
        tables["test"] = listed
    else:
        tables["test"], bad = table_of(require_tree(test_dir), labels, on_bad_clip)
        problems += bad
    roots = {"train": train_dir, "val": train_dir, "test": test_dir or train_dir}
    for split, table in tables.items():
        if not len(table):
            raise empty_split(split, roots[split], test_dir is None)
    recordings = background_recordings(train_index, train_dir, labels)
    if SILENCE in labels:
        stretches = STRETCHES if test_dir else STRETCHES_WITH_TEST
        add_silence(tables, recordings, labels, seed, str(train_dir / BACKGROUND), stretches)
    return Corpus(
        splits={split: folder_split(roots[split], tables[split]) for split in SPLITS},
        recordings=folder_split(train_dir, recordings) if len(recordings) else None,
        problems=tuple(problems),
        folders=train_index.folder_names,
    )


def require_tree(root: Path) -> TreeIndex:
    """Index a folder that must be there."""
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; a Speech Commands archive folder is wanted here")
    return index_tree(root)


def table_of(index: TreeIndex, labels: tuple[str, ...], on_bad_clip: str) -> tuple[ClipTable, list[str]]:
    """Return the clips of the class folders, and a line on each file there that is not audio.

    Raises:
        DataError: one is not audio and `on_bad_clip` is "error".

    """
    label_ids = [None if is_background(folder) else label_of(folder, labels) for folder in index.folder_names]
    wanted = {
        folder for folder, label in zip(index.folder_names, label_ids, strict=True) if label is not None
    }
    problems = [line for key, line in index.problems.items() if key.split("/", 1)[0] in wanted]
    if problems and on_bad_clip == "error":
        raise bad_clips(problems)
    by_folder = np.array([-1 if label is None else label for label in label_ids], dtype=np.int64)
    clip_labels = by_folder[index.folders]
    table = ClipTable(
        keys=index.keys,
        labels=clip_labels,
        speakers=index.speakers,
        rates=index.rates,
        starts=np.zeros_like(index.frames),
        frames=index.frames,
    )
    return table.take((clip_labels >= 0) & (index.frames > 0)), problems


def bad_clips(problems: list[str]) -> DataError:
    """Name the first of the clips that are not audio."""
    more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
    return DataError(f"{problems[0]}{more}; on_bad_clip: skip leaves such clips out")


def empty_split(split: str, root: Path, listed: bool) -> DataError:
    """Name a split without a clip, and the list that would have named its clips."""
    name = VALIDATION_LIST if split == "val" else TESTING_LIST if split == "test" and listed else None
    lines = unmatched(root, name) if name else []
    why = f": {len(lines)} lines of {name} name no clip there, such as {lines[0]!r}" if lines else ""
    return DataError(f"{root}: split {split!r} is empty{why}")


def split_by_lists(words: ClipTable, train_dir: Path, validation: Collection[str]) -> dict[str, ClipTable]:
    """Divide the training archive by its two lists into "train", "val" and "listed" (by the testing list)."""
    testing = read_list(train_dir / TESTING_LIST, required=False)
    keys = [list_key(key) for key in words.keys.tolist()]
    in_val = np.array([key in validation for key in keys], dtype=bool)
    in_testing = np.array([key in testing for key in keys], dtype=bool)
    if testing and not in_testing.any():
        lines = unmatched(train_dir, TESTING_LIST)
        if len(lines) == len(testing):
            path = train_dir / TESTING_LIST
            logger.warning("%s keeps nothing from training: no line names a clip, such as %r", path, lines[0])
    return {
        "train": words.take(~in_val & ~in_testing),
        "val": words.take(in_val & ~in_testing),
        "listed": words.take(in_testing),
    }


def background_recordings(index: TreeIndex, root: Path, labels: tuple[str, ...]) -> ClipTable:
    """Return the long recordings that silence and noise are cut from, a row each.

    Raises:
        DataError: one of them is not audio; they are few, so none is skipped.

    """
    here = np.array([is_background(folder) for folder in index.folder_names], dtype=bool)[index.folders]
    rows = [row for row in np.flatnonzero(here).tolist() if index.keys[row].lower().endswith(".wav")]
    for row in rows:
        if not index.frames[row]:
            raise DataError(index.problems[str(index.keys[row])])
    label = labels.index(SILENCE) if SILENCE in labels else 0
    return ClipTable(
        keys=index.keys[rows],
        labels=np.full(len(rows), label, dtype=np.int64),
        speakers=np.full(len(rows), "", dtype=np.str_),
        rates=index.rates[rows],
        starts=np.zeros(len(rows), dtype=np.int64),
        frames=index.frames[rows],
    )


def add_silence(
    tables: dict[str, ClipTable],
    recordings: ClipTable,
    labels: tuple[str, ...],
    seed: int,
    where: str,
    stretches: Mapping[str, tuple[float, float]] = STRETCHES,
) -> None:
    """Add as many silence crops to each split that has a stretch as its average keyword has clips."""
    if not len(recordings):
        raise DataError(f"{where}: no background recordings (*.wav), which {SILENCE} clips are cut from")
    for split, stretch in stretches.items():
        count = mean_keyword_count(tables[split], labels)
        tables[split] += draw_crops(recordings, count, split, seed, stretch)


def folder_split(root: Path, table: ClipTable) -> Split:
    """Join a table with the folder that its keys are relative to."""
    prefix = str(root)
    return Split(table, lambda key: f"{prefix}/{key}", prefix)


def read_list(path: Path, required: bool) -> dict[str, str]:
    """Read `validation_list.txt` or `testing_list.txt`: a path below the archive folder on each line.

    Returns:
        the lines as they are written, by what `list_key` makes of them.

    """
    if path.exists() and not path.is_file():
        raise DataError(f"{path}: not a file")
    try:
        return {list_key(line): line for line in read_lines(path.read_bytes())}
    except FileNotFoundError as error:
        if not required:
            return {}
        inside = sorted(path.parent.glob(f"*/{path.name}")) if path.parent.is_dir() else []
        hint = f"; {inside[0].parent} has one: is that the archive's folder?" if inside else ""
        raise DataError(f"{path}: missing; it names the validation clips{hint}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a readable UTF-8 text ({error})") from error


def unmatched(root: Path, name: str) -> list[str]:
    """Return the lines of one of the lists of an archive folder that name no file there."""
    there = {list_key(key) for key in index_tree(root).keys.tolist()}
    return [line for key, line in read_list(root / name, required=False).items() if key not in there]


def mean_keyword_count(table: ClipTable, labels: tuple[str, ...]) -> int:
    """Return how many clips the average keyword has."""
    words = keyword_ids(labels)
    counts = np.bincount(table.labels, minlength=len(labels))
    return round(int(counts[words].sum()) / len(words))
