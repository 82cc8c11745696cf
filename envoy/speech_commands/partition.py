"""Partitions: every clip goes to exactly one shard, and every envoy computes the same answer.

A partition gives each clip an *owner* (a shard number from 0), so no clip can be in two shards or in none.
The shares that a partition draws are the same for all splits: an envoy with many clips of "stop" in training
has many of them in the test as well. OpenFL's splitters do not offer that, and they change NumPy's global
generator.
"""

import heapq
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from speech_commands.reader.table import ClipTable
from speech_commands.seeding import seeded_int, seeded_order
from speech_commands.settings import Settings

Owner = NDArray[np.int64]
Owners = dict[str, Owner]


def partition(tables: Mapping[str, ClipTable], world_size: int, settings: Settings) -> Owners:
    """Return the owner (0 to world_size - 1) of each clip of each split, shape [n].

    Args:
        tables: the clips of each split.
        world_size: number of shards.
        settings: `partition`, `seed`, `alpha` and `min_shard`, the same for all envoys of a federation.
    """
    kind, seed = settings.partition, settings.seed
    if kind == "iid":
        return {split: deal_evenly(table, world_size, seed, split) for split, table in tables.items()}
    if kind == "speaker":
        return partition_by_speaker(tables, world_size, settings)
    skewed = partition_by_label if kind == "dirichlet" else partition_by_quantity
    owners = {split: skewed(table, world_size, settings, split) for split, table in tables.items()}
    for owner in owners.values():
        ensure_minimum(owner, world_size, settings.min_shard)
    return owners


def deal_evenly(table: ClipTable, world_size: int, seed: int, split: str) -> Owner:
    """Deal the clips one by one in a seeded order."""
    owner = np.empty(len(table), np.int64)
    owner[shuffled(table, seed, split)] = np.arange(len(table)) % world_size
    return owner


def partition_by_speaker(tables: Mapping[str, ClipTable], world_size: int, settings: Settings) -> Owners:
    """Keep all clips of a speaker, in all splits, in one shard; deal those without a speaker evenly.

    Each shard gets its part of each split. If it may lack one (`min_shard` 0), the shards are filled over all
    splits: with as many shards as speakers, each has one speaker. Clips without a speaker then go to those
    shards alone that have a speaker in their split.
    """
    shard_of_speaker: dict[str, int] = {}
    owners: Owners = {}
    loads = [0] * world_size
    for split, table in tables.items():
        loads = [0] * world_size if settings.min_shard else loads
        assign_speakers(shard_of_speaker, table, loads, settings.seed)
        owner = np.empty(len(table), np.int64)
        known, unknown = np.flatnonzero(table.speakers != ""), np.flatnonzero(table.speakers == "")
        owner[known] = [shard_of_speaker[speaker] for speaker in table.speakers[known].tolist()]
        takers = np.arange(world_size) if settings.min_shard else np.unique(owner[known])
        owner[unknown] = takers[deal_evenly(table.take(unknown), len(takers), settings.seed, split)]
        owners[split] = owner
    return owners


def assign_speakers(shard_of_speaker: dict[str, int], table: ClipTable, loads: list[int], seed: int) -> None:
    """Assign each new speaker to the shard with the fewest clips so far, the most frequent ones first.

    Args:
        shard_of_speaker: known already, from other splits; completed.
        table: the clips of a split.
        loads: clips of each shard so far; they grow.
        seed: decides between speakers with as many clips.
    """
    names, counts = np.unique(table.speakers[table.speakers != ""], return_counts=True)
    clips = dict(zip(names.tolist(), counts.tolist(), strict=True))
    for speaker in clips.keys() & shard_of_speaker.keys():
        loads[shard_of_speaker[speaker]] += clips[speaker]
    newcomers = clips.keys() - shard_of_speaker.keys()
    queue = [(load, shard) for shard, load in enumerate(loads)]
    heapq.heapify(queue)
    for speaker in sorted(newcomers, key=lambda name: (-clips[name], seeded_int("speaker", seed, name))):
        load, shard = queue[0]
        shard_of_speaker[speaker] = shard
        loads[shard] = load + clips[speaker]
        heapq.heapreplace(queue, (loads[shard], shard))


def partition_by_label(table: ClipTable, world_size: int, settings: Settings, split: str) -> Owner:
    """Divide each class by shares from a Dirichlet distribution; the smaller alpha, the more skew."""
    owner = np.empty(len(table), np.int64)
    order = shuffled(table, settings.seed, split)
    for label in np.unique(table.labels).tolist():
        rows = order[table.labels[order] == label]
        shares = draw_shares(settings.alpha, world_size, settings.seed, "label", label)
        owner[rows] = deal_by_shares(len(rows), shares)
    return owner


def partition_by_quantity(table: ClipTable, world_size: int, settings: Settings, split: str) -> Owner:
    """Divide all clips by shares from a Dirichlet distribution: the shards differ in size."""
    owner = np.empty(len(table), np.int64)
    shares = draw_shares(settings.alpha, world_size, settings.seed, "quantity")
    owner[shuffled(table, settings.seed, split)] = deal_by_shares(len(table), shares)
    return owner


def draw_shares(alpha: float, world_size: int, *seed: object) -> NDArray[np.float64]:
    """Draw shares from a symmetric Dirichlet distribution, shape [world_size].

    NumPy promises that the stream of `RandomState`, its old generator, never changes.
    """
    rng = np.random.RandomState(seeded_int("shares", *seed) % 2**32)
    gammas = rng.standard_gamma(alpha, world_size)
    if gammas.sum() == 0.0:  # alpha is so small that all underflow: one shard gets everything
        gammas[rng.randint(world_size)] = 1.0
    return np.asarray(gammas / gammas.sum())


def deal_by_shares(count: int, shares: NDArray[np.float64]) -> Owner:
    """Return the owners of `count` consecutive clips, divided by `shares`."""
    edges = np.round(np.cumsum(shares) * count).astype(np.int64)
    edges[-1] = count
    return np.searchsorted(edges, np.arange(count), side="right").astype(np.int64)


def ensure_minimum(owner: Owner, world_size: int, minimum: int) -> None:
    """Move clips from the largest shard to the smallest until each has `minimum`, if there are enough."""
    sizes = np.bincount(owner, minlength=world_size)
    minimum = min(minimum, len(owner) // world_size)
    while np.min(sizes) < minimum:
        smallest, largest = int(np.argmin(sizes)), int(np.argmax(sizes))
        owner[np.flatnonzero(owner == largest)[-1]] = smallest
        sizes[[smallest, largest]] += (1, -1)


def shuffled(table: ClipTable, seed: int, split: str) -> NDArray[np.int64]:
    """Return the rows of a split in a seeded order."""
    return seeded_order(table.names(), "partition", seed, split)
