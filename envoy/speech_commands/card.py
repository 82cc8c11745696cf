"""The shard card: what an envoy tells the federation about its shard, and nothing more."""

import json
from collections.abc import Mapping

import numpy as np

from speech_commands.reader.table import ClipTable, Split


def shard_card(splits: Mapping[str, Split], labels: tuple[str, ...], **facts: object) -> str:
    """Describe a shard in one line of JSON.

    Args:
        splits: the shard's clips by split.
        labels: class names in the order of their ids.
        facts: further entries of the card (source, partition, rank, …).
    """
    tables = {name: split.table for name, split in splits.items()}
    card = {
        "labels": list(labels),
        "clips": {name: clips_per_class(table, labels) for name, table in tables.items()},
        "speakers": {name: count_speakers(table) for name, table in tables.items()},
        "seconds": {name: round(table.seconds, 1) for name, table in tables.items()},
        **facts,
    }
    return json.dumps(card)


def clips_per_class(table: ClipTable, labels: tuple[str, ...]) -> dict[str, int]:
    """Count the clips of each class, zeros included."""
    counts = np.bincount(table.labels, minlength=len(labels))
    return dict(zip(labels, counts.tolist(), strict=True))


def count_speakers(table: ClipTable) -> int:
    """Count the known speakers."""
    return len(set(table.speakers.tolist()) - {""})
