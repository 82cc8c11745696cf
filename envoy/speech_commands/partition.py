"""Who holds what: every clip goes to exactly one shard, and every envoy works out the same answer.

A partition is written as the *owner* of each clip (a shard number from 0), so that no clip can be in two
shards or in none.
"""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from .errors import require_one_of
from .seeding import seeded_int, seeded_order
from .table import ClipTable

Owners = dict[str, NDArray[np.int64]]


def partition_iid(tables: Mapping[str, ClipTable], world_size: int, seed: int) -> Owners:
    """Deal the clips of each split out in turn, in a seeded order."""
    return {split: stride(table, world_size, seed, split) for split, table in tables.items()}


def partition_by_speaker(tables: Mapping[str, ClipTable], world_size: int, seed: int) -> Owners:
    """Keep all clips of a speaker, over all splits, in one shard; deal out those without a speaker."""
    homes: dict[str, int] = {}
    owners = {}
    for split, table in tables.items():
        house_speakers(homes, table, world_size, partial(seeded_int, "speaker", seed))
        owner = stride(table, world_size, seed, split)
        spoken = np.flatnonzero(table.speakers != "")
        owner[spoken] = [homes[speaker] for speaker in table.speakers[spoken]]
        # Dealt out by themselves, so that the clips without a speaker are spread evenly too.
        silent = np.flatnonzero(table.speakers == "")
        owner[silent] = stride(table.take(silent), world_size, seed, split)
        owners[split] = owner
    return owners


def house_speakers(
    homes: dict[str, int], table: ClipTable, world_size: int, tie_break: Callable[[str], int]
) -> None:
    """Give each new speaker to the shard with the fewest clips so far, those with the most clips first."""
    names, counts = np.unique(table.speakers[table.speakers != ""], return_counts=True)
    clips = dict(zip(names.tolist(), counts.tolist(), strict=True))
    loads = [0] * world_size
    for speaker in clips.keys() & homes.keys():
        loads[homes[speaker]] += clips[speaker]
    newcomers = sorted(clips.keys() - homes.keys(), key=lambda name: (-clips[name], tie_break(name)))
    for speaker in newcomers:
        homes[speaker] = loads.index(min(loads))
        loads[homes[speaker]] += clips[speaker]


def stride(table: ClipTable, world_size: int, seed: int, split: str) -> NDArray[np.int64]:
    """Owner of each clip when they are dealt out one by one in a seeded order, shape [n]."""
    owner = np.empty(len(table), np.int64)
    owner[seeded_order(table.names(), "partition", seed, split)] = np.arange(len(table)) % world_size
    return owner


PARTITIONS = {"iid": partition_iid, "speaker": partition_by_speaker}


def partition(kind: str, tables: Mapping[str, ClipTable], world_size: int, seed: int) -> Owners:
    """Return the owner (0 to world_size - 1) of each clip of each split.

    Args:
        kind: one of `PARTITIONS`.
        tables: the clips of each split.
        world_size: number of shards.
        seed: the same for all envoys of a federation.

    Raises:
        DataError: unknown kind.

    """
    require_one_of("partition", kind, tuple(PARTITIONS))
    return PARTITIONS[kind](tables, world_size, seed)
