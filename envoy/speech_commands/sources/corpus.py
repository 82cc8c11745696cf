"""Where the clips come from. Every source ends in a corpus with the same splits and classes."""

import logging
from pathlib import Path

from speech_commands.errors import DataError
from speech_commands.reader.folders import TEST_FOLDER, read_folders
from speech_commands.reader.labels import LABELS, LISTED, is_background, keyword_ids, label_of
from speech_commands.reader.table import Corpus
from speech_commands.settings import Settings

FOLDERS_SHOWN = 8

logger = logging.getLogger(__name__)


def open_source(settings: Settings) -> Corpus:
    """Index the corpus that the settings name.

    Raises:
        DataError: the source cannot be read.

    """
    if settings.source != "folder" and (settings.data_dir or settings.test_dir):
        raise DataError(f"data_dir and test_dir are for source: folder; source is {settings.source!r}")
    if settings.source == "hub":
        from speech_commands.sources.hub import read_hub

        corpus = read_hub(settings.hub, settings.labels, settings.seed)
    else:
        train, test = find_folders(settings)
        corpus = read_folders(train, test, settings.labels, settings.seed, settings.on_bad_clip)
    require_words(corpus, settings.labels)
    return corpus


def find_folders(settings: Settings) -> tuple[Path, Path | None]:
    """Return the absolute folders of the training and the test archive, making or fetching them if need be.

    There is no test archive (None) where the testing list of the other names the test split.

    Raises:
        DataError: a folder is not named or not there, or cannot be made or fetched.

    """
    if settings.source == "synthetic":
        from speech_commands.synthetic.corpus import make_corpus

        return make_corpus(settings.seed)
    if settings.source == "archives":
        from speech_commands.sources.archives import fetch_archives

        return fetch_archives(settings.archives)
    if not settings.data_dir:
        raise DataError("source 'folder' needs data_dir, the folder of the Speech Commands training archive")
    train = existing("data_dir", settings.data_dir)
    if settings.test_dir == LISTED:
        return train, None
    if settings.test_dir:
        return train, existing("test_dir", settings.test_dir)
    test = train.parent / TEST_FOLDER
    if not test.is_dir():
        raise DataError(
            f"{test}: no such folder; it is looked for beside data_dir; set test_dir to another, or to "
            f"{LISTED}: the clips that the training archive's own list names"
        )
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
    """Check that words are spoken in training: a misspelt label or folder would else go unnoticed.

    Of SUPERB's own classes an envoy may lack some, but not all; who names classes has clips of each.
    """
    for split in ("val", "test"):
        if labels == LABELS and len(silent_words(corpus, labels, split)) == len(keyword_ids(labels)):
            raise DataError(f"{corpus.splits[split].root}: no clip of a word in split {split!r}")
    silent = silent_words(corpus, labels)
    if not silent:
        return
    where = corpus.splits["train"].root
    message = f"{where}: no training clip of {', '.join(silent)}{others(corpus, labels)}"
    if labels != LABELS or len(silent) == len(keyword_ids(labels)):
        raise DataError(f"{message}; labels names the classes, a folder for each")
    logger.warning("%s", message)


def silent_words(corpus: Corpus, labels: tuple[str, ...], split: str = "train") -> list[str]:
    """Return the words to spot that no clip of a split has."""
    heard = set(corpus.splits[split].table.labels.tolist())
    return [labels[word] for word in keyword_ids(labels) if word not in heard]


def others(corpus: Corpus, labels: tuple[str, ...]) -> str:
    """Name some of the source's folders that are no class."""
    words = {*keyword_ids(labels)}
    rest = [
        folder
        for folder in corpus.folders
        if not is_background(folder) and label_of(folder, labels) not in words
    ]
    more = ", …" if len(rest) > FOLDERS_SHOWN else ""
    return f" (other folders there: {', '.join(rest[:FOLDERS_SHOWN])}{more})" if rest else ""
