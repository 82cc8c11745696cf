"""The printed report of a check: clips per class next to SUPERB's, and the findings."""

from collections.abc import Iterator
from typing import Any

from speech_commands.card import clips_per_class, count_speakers
from speech_commands.check.inspection import NOTES, PROBLEMS, Findings
from speech_commands.reader.table import Corpus
from superb_node.labels import LABELS, SILENCE
from superb_node.shard_card import SPLITS
from superb_node.text import safe_line

MAX_EXAMPLES = 3  # places shown for each kind of finding

# Clips per class of the full corpus, in the order of LABELS. The six `_silence_` clips of training are the
# long background recordings.
SUPERB = {
    "train": (1860, 1853, 1843, 1842, 1839, 1852, 1864, 1839, 1885, 1861, 6, 32550),
    "val": (261, 270, 260, 264, 247, 256, 257, 256, 246, 260, 0, 4221),
    "test": (256, 252, 272, 253, 267, 259, 246, 262, 249, 251, 257, 257),
}


def count_table(corpus: Corpus, labels: tuple[str, ...]) -> Iterator[str]:
    """Yield a table of clips per class and split, next to SUPERB's counts if the classes are SUPERB's."""
    official = SUPERB if labels == LABELS else None
    width = max(map(len, (*labels, "speakers")))
    counts = {split: clips_per_class(corpus.splits[split].table, labels) for split in SPLITS}
    yield table_row("", width, [(split, official and "SUPERB") for split in SPLITS])
    for number, label in enumerate(labels):
        cells = [(counts[split][label], official and official[split][number]) for split in SPLITS]
        yield table_row(label, width, cells)
    totals = [(sum(counts[split].values()), official and sum(official[split])) for split in SPLITS]
    yield table_row("all", width, totals)
    speakers = [(count_speakers(corpus.splits[split].table), official and "") for split in SPLITS]
    yield table_row("speakers", width, speakers)
    if SILENCE in labels:
        yield f"{SILENCE} in training and validation: one-second crops; SUPERB counts its six recordings"


def table_row(name: str, width: int, cells: list[tuple[Any, Any]]) -> str:
    """Return a line of the table; cells are pairs of a count and SUPERB's count, if that is known."""
    columns = [value for pair in cells for value in pair if value is not None]
    return " ".join([f"{name:<{width}}", *(f"{value:>8}" for value in columns)])


def finding_lines(findings: Findings) -> Iterator[str]:
    """Yield a line for each kind of finding, problems first, followed by a few of its places."""
    for title, kinds in (("problem", PROBLEMS), ("note", NOTES)):
        for kind, meaning in kinds.items():
            places = findings.places.get(kind, [])
            if not places:
                continue
            yield f"{title}: {len(places)} x {kind} ({meaning})"
            yield from (f"    {safe_line(place)}" for place in places[:MAX_EXAMPLES])
            if len(places) > MAX_EXAMPLES:
                yield f"    and {len(places) - MAX_EXAMPLES} more"
    if not findings.any_problem:
        yield "no problem found"
