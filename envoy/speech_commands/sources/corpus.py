"""Opens the corpus that the settings name; every source gives one with the same splits and classes."""

import logging
from pathlib import Path

from speech_commands.reader.folders import read_folders
from speech_commands.reader.table import Corpus
from speech_commands.settings import Settings
from superb_node.errors import DataError
from superb_node.labels import LABELS, LISTED, TEST_FOLDER, is_background, keyword_ids, label_of

MAX_FOLDERS_SHOWN = 8

logger = logging.getLogger(__name__)


def open_corpus(settings: Settings) -> Corpus:
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
    require_clips_of_words(corpus, settings.labels)
    return corpus


def find_folders(settings: Settings) -> tuple[Path, Path | None]:
    """Return the absolute folders of the training and the test archive, made or downloaded if necessary.

    The second is None if the testing list of the training archive names the test clips.

    Raises:
        DataError: a folder is not named or does not exist, or cannot be made or downloaded.
    """
    if settings.source == "synthetic":
        from speech_commands.synthetic.corpus import make_corpus
        from speech_commands.synthetic.script import Size

        return make_corpus(settings.seed, Size.of(settings.speakers))
    if settings.source == "archives":
        from speech_commands.sources.archives import fetch_archives

        return fetch_archives(settings.archives)
    if not settings.data_dir:
        raise DataError("source 'folder' needs data_dir, the folder of the Speech Commands training archive")
    train = existing_folder("data_dir", settings.data_dir)
    if settings.test_dir == LISTED:
        return train, None
    if settings.test_dir:
        return train, existing_folder("test_dir", settings.test_dir)
    test = train.parent / TEST_FOLDER
    if not test.is_dir():
        raise DataError(
            f"{test}: no such folder; the test archive is expected next to data_dir; set test_dir to its "
            f"folder, or to {LISTED}: the clips that the training archive's own list names"
        )
    return train, test


def existing_folder(setting: str, folder: str) -> Path:
    """Return a folder as an absolute path: the process may change its directory later."""
    try:
        path = Path(folder).expanduser().resolve()
        found = path.is_dir()
    except (OSError, TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{setting} {folder!r}: not a folder ({error})") from error
    if not found:
        raise DataError(f"{setting} {path}: no such folder")
    return path


def require_clips_of_words(corpus: Corpus, labels: tuple[str, ...]) -> None:
    """Check that there are training clips of the words: a misspelt label or folder would go unnoticed.

    An envoy may lack some of SUPERB's own classes but not all of them. If the settings name the classes, it
    must have clips of each.

    Raises:
        DataError: a class that the envoy must have has no clip.
    """
    for split in ("val", "test"):
        if labels == LABELS and len(words_without_clip(corpus, labels, split)) == len(keyword_ids(labels)):
            raise DataError(f"{corpus.splits[split].root}: no clip of a word in split {split!r}")
    missing = words_without_clip(corpus, labels)
    if not missing:
        return
    where = corpus.splits["train"].root
    message = f"{where}: no training clip of {', '.join(missing)}{other_folders(corpus, labels)}"
    if labels != LABELS or len(missing) == len(keyword_ids(labels)):
        raise DataError(f"{message}; labels names the classes, and each needs a folder")
    logger.warning("%s", message)


def words_without_clip(corpus: Corpus, labels: tuple[str, ...], split: str = "train") -> list[str]:
    """Return the words to spot of which a split has no clip."""
    present = set(corpus.splits[split].table.labels.tolist())
    return [labels[word] for word in keyword_ids(labels) if word not in present]


def other_folders(corpus: Corpus, labels: tuple[str, ...]) -> str:
    """Name some of the source's folders that are not a class."""
    words = {*keyword_ids(labels)}
    rest = [
        folder
        for folder in corpus.folders
        if not is_background(folder) and label_of(folder, labels) not in words
    ]
    more = ", …" if len(rest) > MAX_FOLDERS_SHOWN else ""
    return f" (other folders there: {', '.join(rest[:MAX_FOLDERS_SHOWN])}{more})" if rest else ""
