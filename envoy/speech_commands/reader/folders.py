"""The Speech Commands layout (a training and a test archive folder), split as SUPERB splits it.

`validation_list.txt` names the validation clips, `testing_list.txt` names clips that neither training nor
validation may use, and the other clips are for training. The test archive is a folder of its own; without it,
the testing list can name the test clips. Opening reads only names and headers.
"""

import logging
from collections.abc import Collection
from pathlib import Path

import numpy as np

from speech_commands.reader.index import TreeIndex, index_tree
from speech_commands.reader.lists import read_list, unmatched_lines
from speech_commands.reader.silence import STRETCHES, STRETCHES_WITH_TEST, add_silence
from speech_commands.reader.table import ClipTable, Corpus, Split, bad_clips_error
from superb_node.errors import DataError
from superb_node.labels import (
    BACKGROUND,
    LABELS,
    SILENCE,
    TESTING_LIST,
    VALIDATION_LIST,
    is_background,
    label_of,
    list_key,
)
from superb_node.shard_card import SPLITS

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
        test_dir: folder of the test archive; None: the testing list names the test split.
        labels: class names in the order of their ids.
        seed: of the silence crops.
        on_bad_clip: "error" or "skip": what to do about files that are not audio.

    Returns:
        splits sorted by path, silence crops last.

    Raises:
        DataError: a folder or list is missing, a split is empty, a file is not audio.
    """
    train_index = index_folder(train_dir)
    # Required, because its absence shows that the wrong folder was named, such as the one above the archive.
    validation = read_list(train_dir / VALIDATION_LIST, required=True)
    words, problems = clip_table(train_index, labels, on_bad_clip)
    tables = split_by_lists(words, train_dir, validation)
    listed = tables.pop("listed")
    if test_dir is None:
        tables["test"] = listed
    else:
        tables["test"], bad = clip_table(index_folder(test_dir), labels, on_bad_clip)
        problems += bad
    roots = {"train": train_dir, "val": train_dir, "test": test_dir or train_dir}
    for split, table in tables.items():
        if not len(table):
            raise empty_split_error(split, roots[split], test_dir is None)
    recordings = background_recordings(train_index, labels)
    if SILENCE in labels:
        stretches = STRETCHES if test_dir else STRETCHES_WITH_TEST
        add_silence(tables, recordings, labels, seed, str(train_dir / BACKGROUND), stretches)
    return Corpus(
        splits={split: folder_split(roots[split], tables[split]) for split in SPLITS},
        recordings=folder_split(train_dir, recordings) if len(recordings) else None,
        problems=tuple(problems),
        folders=train_index.folder_names,
    )


def index_folder(root: Path) -> TreeIndex:
    """Index a folder that must exist."""
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; expected a Speech Commands archive folder")
    return index_tree(root)


def clip_table(index: TreeIndex, labels: tuple[str, ...], on_bad_clip: str) -> tuple[ClipTable, list[str]]:
    """Return the clips in the class folders, and a line about each file there that is not audio.

    Raises:
        DataError: a file is not audio and `on_bad_clip` is "error".
    """
    label_ids = [None if is_background(folder) else label_of(folder, labels) for folder in index.folder_names]
    classes = {
        folder for folder, label in zip(index.folder_names, label_ids, strict=True) if label is not None
    }
    problems = [line for key, line in index.problems.items() if key.split("/", 1)[0] in classes]
    if problems and on_bad_clip == "error":
        raise bad_clips_error(problems)
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


def empty_split_error(split: str, root: Path, by_list: bool) -> DataError:
    """Return the error that names a split without clips, and the list that should have named them."""
    name = VALIDATION_LIST if split == "val" else TESTING_LIST if split == "test" and by_list else None
    lines = unmatched_lines(root, name) if name else []
    why = f": {len(lines)} lines of {name} match no clip there, such as {lines[0]!r}" if lines else ""
    return DataError(f"{root}: split {split!r} is empty{why}")


def split_by_lists(words: ClipTable, train_dir: Path, validation: Collection[str]) -> dict[str, ClipTable]:
    """Divide the training archive by its lists into "train", "val" and "listed" (in the testing list)."""
    testing = read_list(train_dir / TESTING_LIST, required=False)
    keys = [list_key(key) for key in words.keys.tolist()]
    in_val = np.array([key in validation for key in keys], dtype=bool)
    in_testing = np.array([key in testing for key in keys], dtype=bool)
    if testing and not in_testing.any():
        lines = unmatched_lines(train_dir, TESTING_LIST)
        if len(lines) == len(testing):
            message = "%s excludes nothing from training: no line matches a clip, such as %r"
            logger.warning(message, train_dir / TESTING_LIST, lines[0])
    return {
        "train": words.take(~in_val & ~in_testing),
        "val": words.take(in_val & ~in_testing),
        "listed": words.take(in_testing),
    }


def background_recordings(index: TreeIndex, labels: tuple[str, ...]) -> ClipTable:
    """Return the long recordings that silence and noise are cut from, one row each.

    Raises:
        DataError: a recording is not audio; they are so few that none is skipped.
    """
    background = [number for number, name in enumerate(index.folder_names) if is_background(name)]
    candidates = np.flatnonzero(np.isin(index.folders, background)).tolist()
    rows = [row for row in candidates if index.keys[row].lower().endswith(".wav")]
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


def folder_split(root: Path, table: ClipTable) -> Split:
    """Combine a table with the folder that its keys are relative to."""
    prefix = str(root)
    return Split(table, lambda key: f"{prefix}/{key}", prefix)
