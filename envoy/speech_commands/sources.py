"""Where the clips come from. Every source ends in a corpus with the same splits and classes."""

from pathlib import Path

from .errors import DataError
from .labels import LABELS, keyword_ids
from .reader import TEST_FOLDER, read_folders
from .settings import Settings
from .table import Corpus


def open_source(settings: Settings) -> Corpus:
    """Index the corpus that the settings name.

    Raises:
        DataError: the source cannot be read.

    """
    if settings.source != "folder" and (settings.data_dir or settings.test_dir):
        raise DataError(f"data_dir and test_dir are for source: folder; source is {settings.source!r}")
    if settings.source == "hub":
        from .hub import read_hub

        corpus = read_hub(settings.hub, settings.labels, settings.seed)
    else:
        train, test = find_folders(settings)
        corpus = read_folders(train, test, settings.labels, settings.seed, settings.on_bad_clip)
    if settings.labels != LABELS:
        require_words(corpus, settings.labels)
    return corpus


def find_folders(settings: Settings) -> tuple[Path, Path]:
    """Return the absolute folders of the training and the test archive, making or fetching them if need be.

    Raises:
        DataError: a folder is not named or not there, or cannot be made or fetched.

    """
    if settings.source == "synthetic":
        from .synthetic import make_corpus

        return make_corpus(settings.seed)
    if settings.source == "archives":
        from .archives import fetch_archives

        return fetch_archives(settings.archives)
    if not settings.data_dir:
        raise DataError("source 'folder' needs data_dir, the folder of the Speech Commands training archive")
    train = existing("data_dir", settings.data_dir)
    if settings.test_dir:
        return train, existing("test_dir", settings.test_dir)
    test = train.parent / TEST_FOLDER
    if not test.is_dir():
        raise DataError(f"{test}: no such folder; it is looked for beside data_dir, or set test_dir")
    return train, test


def existing(setting: str, folder: str) -> Path:
    """Return a folder as an absolute path: the process may change its directory later."""
    try:
        path = Path(folder).expanduser().resolve()
        found = path.is_dir()
    except (OSError, TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{setting} {folder!r}: not a folder ({error})") from error
    if not found:
        raise DataError(f"{setting} {path}: no such folder")
    return path


def require_words(corpus: Corpus, labels: tuple[str, ...]) -> None:
    """Check that each word to spot is spoken in training: a misspelt label would else go unnoticed."""
    heard = set(corpus.splits["train"].table.labels.tolist())
    silent = [labels[word] for word in keyword_ids(labels) if word not in heard]
    if silent:
        where = corpus.splits["train"].root
        raise DataError(f"{where}: no training clip of {', '.join(silent)}; labels names the classes")
