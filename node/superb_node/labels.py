"""What clips go by: classes, archives and their lists, partitions; and what is no clip at all."""

import unicodedata

KEYWORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
SILENCE = "_silence_"
UNKNOWN = "_unknown_"
LABELS = (*KEYWORDS, SILENCE, UNKNOWN)
BACKGROUND = "_background_noise_"
TRAIN_FOLDER, TEST_FOLDER = "speech_commands_v0.01", "speech_commands_test_set_v0.01"
VALIDATION_LIST, TESTING_LIST = "validation_list.txt", "testing_list.txt"
LISTED = "testing_list"  # in the place of a test archive's folder: the clips that TESTING_LIST names
PARTITIONS = ("iid", "speaker", "dirichlet", "quantity")
FEWEST_SPEAKERS = 74
"""Of synthetic speech, which has more if it is asked to."""

# What systems, browsers and editors leave in folders, in lower case.
LITTER = {
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "#recycle", "$recycle.bin"),
    *("system volume information", "lost+found"),
}
LITTER_ENDS = ("~", ".tmp", ".temp", ".part", ".partial", ".crdownload", ".download", ".bak", ".swp", ".lnk")
LITTER_STARTS = (".", "~$")


def composed(text: str) -> str:
    """Return a name in the one of Unicode's forms that all are compared in; macOS may store another."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def is_litter(name: str) -> bool:
    """Whether a file or folder is hidden, or left by a system, browser or editor: no clip and no class."""
    low = name.lower()
    autosaved = low.startswith("#") and low.endswith("#")
    return low in LITTER or low.startswith(LITTER_STARTS) or low.endswith(LITTER_ENDS) or autosaved


def is_background(folder: str) -> bool:
    """Whether a folder is that of the long recordings."""
    return folder.casefold() == BACKGROUND


def label_of(folder: str, labels: tuple[str, ...]) -> int | None:
    """Label id of a clip in `folder`: its own class, else `_unknown_`, else None (the clip is left out).

    `Yes` is `yes` unless both are classes. Silence is no unknown word: where it is not a class of its own, it
    is left out.
    """
    name = composed(folder)
    if name in labels:
        return labels.index(name)
    alike = [number for number, label in enumerate(labels) if label.casefold() == name.casefold()]
    if len(alike) == 1:
        return alike[0]
    silent = name.casefold() == SILENCE
    return labels.index(UNKNOWN) if UNKNOWN in labels and not silent else None


def list_key(path: str) -> str:
    r"""Return what a line of a list and the clip that it names have in common: folder and file, no more.

    Lists are made on all systems: `./yes/a.wav`, `yes\a.wav` and `/data/v0.01/yes/a.wav` name one clip.
    """
    folder, _, name = "/".join(path.replace("\\", "/").split("/")[-2:]).rpartition("/")
    return f"{composed(folder).casefold()}/{composed(name)}"


def read_lines(content: bytes) -> list[str]:
    """Return the lines of a list, in UTF-8 or in UTF-16 with a byte order mark, without those that are blank.

    Raises:
        UnicodeDecodeError: it is neither.

    """
    utf_16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    lines = content.decode("utf-16" if utf_16 else "utf-8-sig").splitlines()
    return [line.strip() for line in lines if line.strip()]


def keyword_ids(labels: tuple[str, ...]) -> list[int]:
    """Label ids of the words to spot, that is of all classes but silence and unknown."""
    return [i for i, name in enumerate(labels) if name not in (SILENCE, UNKNOWN)]
