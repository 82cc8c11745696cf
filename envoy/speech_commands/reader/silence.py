"""`_silence_` clips: one-second crops of the long background recordings, drawn from a seed."""

from collections.abc import Mapping

import numpy as np

from speech_commands.reader.table import ClipTable
from speech_commands.seeding import seeded_int
from superb_node.errors import DataError
from superb_node.labels import SILENCE, keyword_ids

TRAIN_SHARE = 0.8  # of each recording; the rest is heard in validation only

# The part of each recording that a split's crops are cut from, from 0 to 1.
STRETCHES = {"train": (0.0, TRAIN_SHARE), "val": (TRAIN_SHARE, 1.0)}
# Without the test archive, which has silence of its own.
STRETCHES_WITH_TEST = {"train": (0.0, TRAIN_SHARE), "val": (TRAIN_SHARE, 0.9), "test": (0.9, 1.0)}


def add_silence(
    tables: dict[str, ClipTable],
    recordings: ClipTable,
    labels: tuple[str, ...],
    seed: int,
    source: str,
    stretches: Mapping[str, tuple[float, float]] = STRETCHES,
) -> None:
    """Add as many crops to each split that has a stretch as its average keyword has clips.

    Args:
        tables: the clips of each split, changed in place.
        recordings: one row for each background recording.
        labels: class names in the order of their ids.
        seed: of the crops.
        source: where the recordings should be, for messages.
        stretches: the part of each recording that a split's crops are cut from.

    Raises:
        DataError: there are no recordings.
    """
    if not len(recordings):
        raise DataError(f"{source}: no background recordings (*.wav), which {SILENCE} clips are cut from")
    words = keyword_ids(labels)
    for split, stretch in stretches.items():
        counts = np.bincount(tables[split].labels, minlength=len(labels))
        average = round(int(counts[words].sum()) / len(words))
        tables[split] += draw_crops(recordings, average, split, seed, stretch)


def draw_crops(
    recordings: ClipTable, count: int, split: str, seed: int, stretch: tuple[float, float]
) -> ClipTable:
    """Draw `count` crops of one second, taking the recordings in turn.

    Args:
        recordings: one row for each background recording.
        count: number of crops.
        split: what they are for.
        seed: the same seed gives the same crops on every machine.
        stretch: the part of each recording that they are cut from, from 0 to 1.

    Returns:
        one row for each crop; shorter than a second only if its stretch of the recording is.
    """
    low, high = stretch
    rows = np.arange(count) % len(recordings)
    starts = np.zeros(count, np.int64)
    lengths = np.zeros(count, np.int64)
    for crop, row in enumerate(rows):
        first, last = (int(edge * int(recordings.frames[row])) for edge in (low, high))
        length = min(int(recordings.rates[row]), last - first)
        n_starts = last - first - length + 1
        starts[crop], lengths[crop] = first + seeded_int("silence", seed, split, crop) % n_starts, length
    drawn = recordings.take(rows)
    return ClipTable(drawn.keys, drawn.labels, drawn.speakers, drawn.rates, starts, lengths)
