"""Where the clips come from. Every source ends in the same reader."""

from pathlib import Path

from .errors import DataError, require_one_of
from .reader import TEST_FOLDER, read_folders
from .table import Split

SOURCES = ("synthetic", "folder")


def open_source(
    source: str, data_dir: str | None, test_dir: str | None, labels: tuple[str, ...], seed: int
) -> dict[str, Split]:
    """Index the corpus that the settings name.

    Returns:
        splits "train", "val" and "test" of the whole corpus.

    Raises:
        DataError: unknown source, or the source cannot be read.

    """
    require_one_of("source", source, SOURCES)
    if source == "synthetic":
        if data_dir or test_dir:
            raise DataError("data_dir and test_dir are for source: folder; source is 'synthetic'")
        from .synthetic import make_corpus

        train, test = make_corpus(seed)
    else:
        train, test = find_folders(data_dir, test_dir)
    return read_folders(train, test, labels, seed)


def find_folders(data_dir: str | None, test_dir: str | None) -> tuple[Path, Path]:
    """Return the absolute folders of the training and the test archive.

    Raises:
        DataError: a folder is not named or not there.

    """
    if not data_dir:
        raise DataError("source 'folder' needs data_dir, the folder of the Speech Commands training archive")
    train = Path(data_dir).expanduser().resolve()
    if not train.is_dir():
        raise DataError(f"data_dir {train}: no such folder")
    if test_dir:
        test = Path(test_dir).expanduser().resolve()
        if not test.is_dir():
            raise DataError(f"test_dir {test}: no such folder")
        return train, test
    test = train.parent / TEST_FOLDER
    if not test.is_dir():
        raise DataError(f"{test}: no such folder; it is looked for beside data_dir, or set test_dir")
    return train, test
