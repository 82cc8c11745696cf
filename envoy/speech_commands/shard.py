"""From settings to the clips of one shard."""

from dataclasses import dataclass

import numpy as np

from .errors import DataError
from .partition import partition
from .reader import bad_clips
from .scenario import stage
from .settings import Settings
from .sources import open_source
from .table import Corpus, Split


@dataclass(frozen=True, eq=False)
class Shard:
    """The clips of one envoy.

    Attributes:
        splits: "train", "val" and "test".
        skipped: clips left out because they are not audio, of the whole corpus; of this shard for the hub.

    """

    splits: dict[str, Split]
    skipped: int


def open_shard(settings: Settings, rank: int, world_size: int) -> Shard:
    """Index shard `rank` (from 1) of `world_size`.

    Raises:
        DataError: the source cannot be read, or the shard gets too few clips of a split.

    """
    corpus = open_source(settings)
    splits = take_shard(corpus, settings, rank, world_size)
    problems = list(corpus.problems)
    for name, split in splits.items():
        splits[name], bad = split.measured()
        problems += bad
    if problems and settings.on_bad_clip == "error":
        raise bad_clips(problems)
    splits = stage(splits, corpus, settings.scenario, settings.labels, settings.seed)
    for name, split in splits.items():
        if not len(split):
            raise DataError(f"shard {rank} of {world_size}: nothing is left of split {name!r}")
    return Shard(splits, len(problems))


def take_shard(corpus: Corpus, settings: Settings, rank: int, world_size: int) -> dict[str, Split]:
    """Return what the partition gives to shard `rank`."""
    owners = partition({name: split.table for name, split in corpus.splits.items()}, world_size, settings)
    shard = {
        name: split.take(np.flatnonzero(owners[name] == rank - 1)) for name, split in corpus.splits.items()
    }
    for name, split in shard.items():
        if len(split) < settings.min_shard:
            raise DataError(
                f"shard {rank} of {world_size} gets {len(split) or 'no'} clips of split {name!r}, which has "
                f"{len(corpus.splits[name])}, by partition {settings.partition!r}; at least "
                f"{settings.min_shard} (min_shard) are wanted: use fewer envoys or more data"
            )
    return shard
