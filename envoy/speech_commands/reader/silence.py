"""`_silence_` clips: one-second crops of the long background recordings, drawn from a seed."""

import numpy as np

from speech_commands.reader.table import ClipTable
from speech_commands.seeding import seeded_int

TRAIN_SHARE = 0.8  # of each recording; the rest is heard in validation only

STRETCHES = {"train": (0.0, TRAIN_SHARE), "val": (TRAIN_SHARE, 1.0)}
# Where the test archive, which has silence of its own, is missing.
STRETCHES_WITH_TEST = {"train": (0.0, TRAIN_SHARE), "val": (TRAIN_SHARE, 0.9), "test": (0.9, 1.0)}


def draw_crops(
    recordings: ClipTable, count: int, split: str, seed: int, stretch: tuple[float, float]
) -> ClipTable:
    """Draw `count` crops of one second, taking the recordings in turn.

    Args:
        recordings: a row each background recording.
        count: crops wanted.
        split: what they are for.
        seed: the same seed gives the same crops on every machine.
        stretch: where the part of each recording that they are cut from begins and ends, from 0 to 1.

    Returns:
        a row each crop; shorter than a second only where its stretch of the recording is.

    """
    low, high = stretch
    which = np.arange(count) % len(recordings)
    starts = np.zeros(count, np.int64)
    lengths = np.zeros(count, np.int64)
    for crop, row in enumerate(which):
        first, last = (int(edge * int(recordings.frames[row])) for edge in (low, high))
        length = min(int(recordings.rates[row]), last - first)
        room = last - first - length + 1
        starts[crop], lengths[crop] = first + seeded_int("silence", seed, split, crop) % room, length
    drawn = recordings.take(which)
    return ClipTable(drawn.keys, drawn.labels, drawn.speakers, drawn.rates, starts, lengths)
