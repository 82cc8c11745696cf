"""The Speech Commands layout (a training and a test archive folder), split as SUPERB splits it.

Training clips are what neither list names, validation is what `validation_list.txt` names, and what
`testing_list.txt` names belongs to neither; the test archive is a folder of its own. Opening reads names and
headers only.
"""

from pathlib import Path

import numpy as np

from .errors import DataError
from .index import TreeIndex, index_tree
from .labels import LABELS, SILENCE, keyword_ids, label_of
from .silence import draw_crops
from .table import ClipTable, Corpus, Split

SPLITS = ("train", "val", "test")
TRAIN_FOLDER = "speech_commands_v0.01"
TEST_FOLDER = "speech_commands_test_set_v0.01"
BACKGROUND = "_background_noise_"
VALIDATION_LIST = "validation_list.txt"
TESTING_LIST = "testing_list.txt"


def read_folders(
    train_dir: Path,
    test_dir: Path,
    labels: tuple[str, ...] = LABELS,
    seed: int = 0,
    on_bad_clip: str = "error",
) -> Corpus:
    """Index the two archive folders.

    Args:
        train_dir: folder of the training archive.
        test_dir: folder of the test archive.
        labels: class names in the order of their ids.
        seed: of the silence crops.
        on_bad_clip: "error", or "skip" files that are not audio.

    Returns:
        splits sorted by path, silence crops last.

    Raises:
        DataError: a folder or list is missing, a split is empty, a file is not audio.

    """
    train_index, test_index = require_tree(train_dir), require_tree(test_dir)
    words, bad_train = table_of(train_index, labels, on_bad_clip)
    test, bad_test = table_of(test_index, labels, on_bad_clip)
    tables = {**split_by_lists(words, train_dir), "test": test}
    for split, table in tables.items():
        if not len(table):
            raise DataError(f"{test_dir if split == 'test' else train_dir}: split {split!r} is empty")
    recordings = background_recordings(train_index, train_dir, labels)
    if SILENCE in labels:
        add_silence(tables, recordings, labels, seed, str(train_dir / BACKGROUND))
    roots = {"train": train_dir, "val": train_dir, "test": test_dir}
    return Corpus(
        splits={split: folder_split(roots[split], tables[split]) for split in SPLITS},
        recordings=folder_split(train_dir, recordings) if len(recordings) else None,
        problems=(*bad_train, *bad_test),
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
    label_ids = [None if folder == BACKGROUND else label_of(folder, labels) for folder in index.folder_names]
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


def split_by_lists(words: ClipTable, train_dir: Path) -> dict[str, ClipTable]:
    """Divide the training archive by its two lists."""
    validation = read_list(train_dir / VALIDATION_LIST, required=True)
    testing = read_list(train_dir / TESTING_LIST, required=False)
    keys = words.keys.tolist()
    in_val = np.array([key in validation for key in keys], dtype=bool)
    in_neither = np.array([key in testing for key in keys], dtype=bool)
    return {"train": words.take(~in_val & ~in_neither), "val": words.take(in_val & ~in_neither)}


def background_recordings(index: TreeIndex, root: Path, labels: tuple[str, ...]) -> ClipTable:
    """Return the long recordings that silence and noise are cut from, a row each.

    Raises:
        DataError: one of them is not audio; they are few, so none is skipped.

    """
    here = np.array([folder == BACKGROUND for folder in index.folder_names], dtype=bool)[index.folders]
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
    tables: dict[str, ClipTable], recordings: ClipTable, labels: tuple[str, ...], seed: int, where: str
) -> None:
    """Add as many silence crops to training and validation as the average keyword has clips there."""
    if not len(recordings):
        raise DataError(f"{where}: no background recordings (*.wav), which {SILENCE} clips are cut from")
    for split in ("train", "val"):
        tables[split] += draw_crops(recordings, mean_keyword_count(tables[split], labels), split, seed)


def folder_split(root: Path, table: ClipTable) -> Split:
    """Join a table with the folder that its keys are relative to."""
    prefix = str(root)
    return Split(table, lambda key: f"{prefix}/{key}", prefix)


def read_list(path: Path, required: bool) -> set[str]:
    """Read `validation_list.txt` or `testing_list.txt`: a path below the archive folder on each line."""
    if path.exists() and not path.is_file():
        raise DataError(f"{path}: not a file")
    try:
        return {line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()}
    except FileNotFoundError as error:
        if not required:
            return set()
        raise DataError(f"{path}: missing; it names the validation clips") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a readable UTF-8 text ({error})") from error


def mean_keyword_count(table: ClipTable, labels: tuple[str, ...]) -> int:
    """Return how many clips the average keyword has."""
    words = keyword_ids(labels)
    counts = np.bincount(table.labels, minlength=len(labels))
    return round(int(counts[words].sum()) / len(words))
