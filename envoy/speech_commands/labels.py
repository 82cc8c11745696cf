"""SUPERB's twelve classes, in the order of its label ids."""

KEYWORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
SILENCE = "_silence_"
UNKNOWN = "_unknown_"
LABELS = (*KEYWORDS, SILENCE, UNKNOWN)


def label_of(folder: str, labels: tuple[str, ...] = LABELS) -> int | None:
    """Label id of a clip in `folder`: its own class, else `_unknown_`, else None (the clip is left out).

    Silence is no unknown word: where it is not a class of its own, it is left out.
    """
    if folder in labels:
        return labels.index(folder)
    return labels.index(UNKNOWN) if UNKNOWN in labels and folder != SILENCE else None


def keyword_ids(labels: tuple[str, ...] = LABELS) -> list[int]:
    """Label ids of the words to spot, that is of all classes but silence and unknown."""
    return [i for i, name in enumerate(labels) if name not in (SILENCE, UNKNOWN)]
