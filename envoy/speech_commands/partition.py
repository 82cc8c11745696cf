"""Who holds what: every clip goes to exactly one shard, and every envoy works out the same answer.

A partition is written as the *owner* of each clip (a shard number from 0), so that no clip can be in two
shards or in none. Proportions, where a partition draws them, are the same for all splits: an envoy that hears
much "stop" in training hears much of it in the test too. That, and draws that leave NumPy's global generator
alone, is why OpenFL's splitters are not used here.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from speech_commands.errors import require_one_of
from speech_commands.reader.table import ClipTable
from speech_commands.seeding import seeded_int, seeded_order
from speech_commands.settings import PARTITION_KINDS, Settings

Owner = NDArray[np.int64]
Owners = dict[str, Owner]


def partition(tables: Mapping[str, ClipTable], world_size: int, settings: Settings) -> Owners:
    """Return the owner (0 to world_size - 1) of each clip of each split, shape [n].

    Args:
        tables: the clips of each split.
        world_size: number of shards.
        settings: `partition`, `seed`, `alpha` and `min_shard`, the same for all envoys of a federation.

    Raises:
        DataError: unknown kind of partition.

    """
    kind, seed = settings.partition, settings.seed
    require_one_of("partition", kind, PARTITION_KINDS)
    if kind == "iid":
        return {split: stride(table, world_size, seed, split) for split, table in tables.items()}
    if kind == "speaker":
        return partition_by_speaker(tables, world_size, seed)
    skewed = partition_by_label if kind == "dirichlet" else partition_by_quantity
    owners = {split: skewed(table, world_size, settings, split) for split, table in tables.items()}
    for owner in owners.values():
        fill_up(owner, world_size, settings.min_shard)
    return owners


def stride(table: ClipTable, world_size: int, seed: int, split: str) -> Owner:
    """Deal the clips out one by one in a seeded order."""
    owner = np.empty(len(table), np.int64)
    owner[shuffled(table, seed, split)] = np.arange(len(table)) % world_size
    return owner


def partition_by_speaker(tables: Mapping[str, ClipTable], world_size: int, seed: int) -> Owners:
    """Keep all clips of a speaker, over all splits, in one shard; deal out those without a speaker."""
    homes: dict[str, int] = {}
    owners: Owners = {}
    for split, table in tables.items():
        house_speakers(homes, table, world_size, seed)
        owner = np.empty(len(table), np.int64)
        spoken, silent = np.flatnonzero(table.speakers != ""), np.flatnonzero(table.speakers == "")
        owner[spoken] = [homes[speaker] for speaker in table.speakers[spoken].tolist()]
        owner[silent] = stride(table.take(silent), world_size, seed, split)
        owners[split] = owner
    return owners


def house_speakers(homes: dict[str, int], table: ClipTable, world_size: int, seed: int) -> None:
    """Give each new speaker to the shard with the fewest clips so far, those with the most clips first."""
    names, counts = np.unique(table.speakers[table.speakers != ""], return_counts=True)
    clips = dict(zip(names.tolist(), counts.tolist(), strict=True))
    loads = [0] * world_size
    for speaker in clips.keys() & homes.keys():
        loads[homes[speaker]] += clips[speaker]
    newcomers = clips.keys() - homes.keys()
    for speaker in sorted(newcomers, key=lambda name: (-clips[name], seeded_int("speaker", seed, name))):
        homes[speaker] = loads.index(min(loads))
        loads[homes[speaker]] += clips[speaker]


def partition_by_label(table: ClipTable, world_size: int, settings: Settings, split: str) -> Owner:
    """Divide each class in proportions drawn from a Dirichlet distribution: small alpha, much skew."""
    owner = np.empty(len(table), np.int64)
    order = shuffled(table, settings.seed, split)
    for label in np.unique(table.labels).tolist():
        rows = order[table.labels[order] == label]
        shares = draw_shares(settings.alpha, world_size, settings.seed, "label", label)
        owner[rows] = deal(len(rows), shares)
    return owner


def partition_by_quantity(table: ClipTable, world_size: int, settings: Settings, split: str) -> Owner:
    """Divide all clips alike in proportions drawn from a Dirichlet distribution: shards differ in size."""
    owner = np.empty(len(table), np.int64)
    shares = draw_shares(settings.alpha, world_size, settings.seed, "quantity")
    owner[shuffled(table, settings.seed, split)] = deal(len(table), shares)
    return owner


def draw_shares(alpha: float, world_size: int, *seed: object) -> NDArray[np.float64]:
    """Draw proportions from a symmetric Dirichlet distribution, shape [world_size].

    `RandomState` is NumPy's old generator, whose stream is promised never to change.
    """
    rng = np.random.RandomState(seeded_int("shares", *seed) % 2**32)
    gammas = rng.standard_gamma(alpha, world_size)
    if gammas.sum() == 0.0:  # alpha so small that all of them underflow: one shard has everything
        gammas[rng.randint(world_size)] = 1.0
    return np.asarray(gammas / gammas.sum())


def deal(count: int, shares: NDArray[np.float64]) -> Owner:
    """Return the owners of `count` clips in a row, divided as `shares` says."""
    edges = np.round(np.cumsum(shares) * count).astype(np.int64)
    edges[-1] = count
    return np.searchsorted(edges, np.arange(count), side="right").astype(np.int64)


def fill_up(owner: Owner, world_size: int, least: int) -> None:
    """Move clips from the largest shard to the smallest until each has `least`, if there are enough."""
    sizes = np.bincount(owner, minlength=world_size)
    least = min(least, len(owner) // world_size)
    while np.min(sizes) < least:
        poor, rich = int(np.argmin(sizes)), int(np.argmax(sizes))
        owner[np.flatnonzero(owner == rich)[-1]] = poor
        sizes[[poor, rich]] += (1, -1)


def shuffled(table: ClipTable, seed: int, split: str) -> NDArray[np.int64]:
    """Return the rows of a split in a seeded order."""
    return seeded_order(table.names(), "partition", seed, split)
