"""Partitions: every clip in exactly one shard, the same everywhere."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speech_commands.partition import partition
from speech_commands.reader.table import ClipTable
from speech_commands.settings import Settings
from superb_node.errors import DataError
from superb_node.labels import PARTITIONS
from superb_shard_descriptor import SuperbShardDescriptor
from tests.support.many_speakers import write_many_speakers

Folders = tuple[Path, Path]
SPEAKERS = ["", "aaaa0000", "bbbb0000", "cccc0000", "dddd0000", "eeee0000"]


def table_of(rows: list[tuple[str, int]]) -> ClipTable:
    """Make a table from (speaker, label) pairs."""
    zeros = np.zeros(len(rows), np.int64)
    return ClipTable(
        keys=np.array([f"w/{number:04d}.wav" for number in range(len(rows))], np.str_),
        labels=np.array([label for _, label in rows], np.int64),
        speakers=np.array([speaker for speaker, _ in rows], np.str_),
        rates=zeros + 16_000,
        starts=zeros,
        frames=zeros + 16_000,
    )


clips = st.lists(st.tuples(st.sampled_from(SPEAKERS), st.integers(0, 11)), max_size=120)
splits = st.fixed_dictionaries({name: clips.map(table_of) for name in ("train", "val", "test")})
worlds = st.integers(1, 40)
seeds = st.integers(0, 2**31)


@pytest.mark.parametrize("kind", PARTITIONS)
@given(tables=splits, world=worlds, seed=seeds)
@settings(deadline=None, max_examples=60)
def test_disjoint_complete_and_stable(kind: str, tables: dict[str, ClipTable], world: int, seed: int) -> None:
    owners = partition(tables, world, Settings(partition=kind, seed=seed))
    for split, table in tables.items():
        assert owners[split].shape == (len(table),)
        assert set(owners[split].tolist()) <= set(range(world))
    again = partition(tables, world, Settings(partition=kind, seed=seed))
    assert all(np.array_equal(owners[split], again[split]) for split in tables)


@given(tables=splits, world=worlds, seed=seeds)
@settings(deadline=None)
def test_iid_shards_differ_by_one_clip_at_most(tables: dict[str, ClipTable], world: int, seed: int) -> None:
    owners = partition(tables, world, Settings(partition="iid", seed=seed))
    for owner in owners.values():
        sizes = np.bincount(owner, minlength=world)
        assert sizes.max() - sizes.min() <= 1


@given(tables=splits, world=worlds, seed=seeds)
@settings(deadline=None)
def test_a_speaker_stays_in_one_shard_over_all_splits(
    tables: dict[str, ClipTable], world: int, seed: int
) -> None:
    owners = partition(tables, world, Settings(partition="speaker", seed=seed))
    homes: dict[str, set[int]] = {}
    for split, table in tables.items():
        for speaker, owner in zip(table.speakers, owners[split], strict=True):
            homes.setdefault(speaker, set()).add(int(owner))
    homes.pop("", None)
    assert all(len(shards) == 1 for shards in homes.values())


@given(rows=clips, world=worlds, seed=seeds)
@settings(deadline=None)
def test_speaker_shards_are_balanced_as_far_as_one_speaker_allows(
    rows: list[tuple[str, int]], world: int, seed: int
) -> None:
    table = table_of(rows)
    owner = partition({"train": table}, world, Settings(partition="speaker", seed=seed))["train"]
    spoken = table.speakers != ""
    sizes = np.bincount(owner[spoken], minlength=world)
    largest = max(np.unique(table.speakers[spoken], return_counts=True)[1], default=0)
    assert sizes.max() - sizes.min() <= largest
    silent = np.bincount(owner[~spoken], minlength=world)
    assert silent.max() - silent.min() <= 1


@pytest.mark.parametrize("kind", ["dirichlet", "quantity"])
@given(
    tables=splits,
    world=worlds,
    seed=seeds,
    alpha=st.sampled_from([0.001, 0.1, 1.0, 100.0]),
    least=st.integers(1, 9),
)
@settings(deadline=None)
def test_each_shard_has_the_least_where_there_is_enough(
    kind: str, tables: dict[str, ClipTable], world: int, seed: int, alpha: float, least: int
) -> None:
    given_settings = Settings(partition=kind, seed=seed, alpha=alpha, min_shard=least)
    for split, owner in partition(tables, world, given_settings).items():
        assert np.bincount(owner, minlength=world).min() >= min(least, len(tables[split]) // world)


def skew(kind: str, alpha: float) -> float:
    """Return how far apart the shards' label proportions are: 0 alike, 1 nothing in common."""
    table = table_of([("", label) for label in range(12) for _ in range(100)])
    owner = partition({"train": table}, 4, Settings(partition=kind, alpha=alpha))["train"]
    counts = np.stack([np.bincount(table.labels[owner == rank], minlength=12) for rank in range(4)])
    shares = counts / counts.sum(axis=1, keepdims=True)
    return float(np.abs(shares - shares.mean(axis=0)).sum(axis=1).mean() / 2)


def test_dirichlet_skews_labels_the_more_the_smaller_alpha() -> None:
    assert skew("dirichlet", 0.1) > skew("dirichlet", 1.0) > skew("dirichlet", 100.0)
    assert skew("dirichlet", 0.1) > 0.4
    assert skew("dirichlet", 1e5) < 0.02


def test_quantity_skews_sizes_and_not_labels() -> None:
    table = table_of([("", label % 2) for label in range(2000)])
    owner = partition({"train": table}, 4, Settings(partition="quantity", alpha=0.5))["train"]
    sizes = np.bincount(owner, minlength=4)
    assert sizes.max() > 3 * sizes.min()
    for rank in np.flatnonzero(sizes > 100):
        assert 0.35 < table.labels[owner == rank].mean() < 0.65


def test_a_shard_is_skewed_alike_in_all_splits() -> None:
    tables = {
        split: table_of([("", label) for label in range(12) for _ in range(100)])
        for split in ("train", "test")
    }
    owners = partition(tables, 3, Settings(partition="dirichlet", alpha=0.3))
    counts = {
        split: [np.bincount(tables[split].labels[owner == rank], minlength=12) for rank in range(3)]
        for split, owner in owners.items()
    }
    assert np.abs(np.array(counts["train"]) - np.array(counts["test"])).max() <= 2


def test_the_global_generator_is_left_alone() -> None:
    np.random.seed(5)
    before = np.random.get_state()[1].copy()
    partition({"train": table_of([("", 0)] * 50)}, 3, Settings(partition="dirichlet"))
    assert np.array_equal(before, np.random.get_state()[1])


def test_too_small_a_shard_is_named(archives: Folders) -> None:
    from superb_node.errors import DataError
    from superb_shard_descriptor import SuperbShardDescriptor

    with pytest.raises(
        DataError, match="shard 2 of 2 gets 12 clips of split 'train', which has 24.*at least 15"
    ):
        SuperbShardDescriptor(
            "2, 2", "folder", str(archives[0]), min_shard=15, partition="quantity", alpha=1e6
        )


def test_another_seed_deals_otherwise() -> None:
    table = table_of([("", 0)] * 100)
    first, second = (
        partition({"train": table}, 2, Settings(partition="iid", seed=seed))["train"] for seed in (0, 1)
    )
    assert not np.array_equal(first, second)


FROZEN = {
    "iid": [1, 2, 2, 0, 0, 0, 0, 1, 2, 1, 2, 1],
    "speaker": [0, 0, 1, 0, 2, 1, 1, 0, 1, 0, 2, 1],
    "dirichlet": [1, 2, 1, 1, 2, 1, 1, 2, 2, 0, 2, 1],
    "quantity": [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 0],
}


def test_the_owners_are_the_same_for_ever() -> None:
    """A frozen answer: envoys of different versions must agree, so a change here is a break."""
    table = table_of([(SPEAKERS[n % 6], n % 12) for n in range(12)])
    owners = {
        kind: partition({"train": table}, 3, Settings(partition=kind, seed=7))["train"].tolist()
        for kind in PARTITIONS
    }
    assert owners == FROZEN


def test_shards_of_real_clips_cover_them_once(shared_dirs: Folders) -> None:
    from superb_shard_descriptor import SuperbShardDescriptor

    for kind in PARTITIONS:
        shards = [
            SuperbShardDescriptor(f"{rank}, 3", "folder", str(shared_dirs[0]), partition=kind)
            for rank in (1, 2, 3)
        ]
        for split, total in (("train", 1480), ("val", 370), ("test", 384)):
            names = [name for shard in shards for name in shard._splits[split].table.names()]
            assert len(names) == total
            sizes = [len(shard.get_dataset(split)) for shard in shards]
            assert min(sizes) >= 1
            if kind in ("iid", "speaker"):
                assert max(sizes) - min(sizes) <= 12


def test_the_same_in_a_process_with_another_hash_seed(archives: Folders, envoy_dir: Path) -> None:
    program = (
        "import sys, json; from superb_shard_descriptor import SuperbShardDescriptor as D;"
        "d = D('1, 2', 'folder', sys.argv[1], partition='speaker');"
        "print(json.dumps({s: d._splits[s].table.names() for s in d.get_shard_dataset_types()}))"
    )
    answers = []
    for hash_seed in ("1", "2"):
        command = [sys.executable, "-c", program, str(archives[0])]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            command, cwd=envoy_dir, env=environment, capture_output=True, text=True, check=True
        )
        answers.append(json.loads(done.stdout.splitlines()[-1]))
    assert answers[0] == answers[1]
    assert answers[0]["train"]


@pytest.mark.parametrize("world_size", [9, 6, 3])
def test_shards_that_may_lack_a_split_are_filled_over_all_splits(tmp_path: Path, world_size: int) -> None:
    archive = write_many_speakers(tmp_path, 5, 2, 2)
    of_rank = SuperbShardDescriptor.of_all_ranks(
        world_size, source="folder", data_dir=str(archive), partition="speaker", min_shard=0
    )
    cards = [json.loads(of_rank(rank).dataset_description) for rank in range(1, world_size + 1)]
    speakers = [sum(card["speakers"].values()) for card in cards]
    assert sum(speakers) == 9
    assert max(speakers) - min(speakers) <= 1
    for card in cards:
        silent = [split for split, count in card["speakers"].items() if not count]
        assert all(sum(card["clips"][split].values()) == 0 for split in silent)
    for split, count in (("train", 55), ("val", 22), ("test", 22)):
        assert sum(sum(card["clips"][split].values()) for card in cards) == count


def test_a_shard_without_any_clip_is_refused(tmp_path: Path) -> None:
    archive = write_many_speakers(tmp_path, 2, 1, 1)
    with pytest.raises(DataError, match="shard 5 of 5 gets no clip by partition 'speaker'"):
        SuperbShardDescriptor("5, 5", "folder", str(archive), partition="speaker", min_shard=0)


def test_the_descriptors_of_all_ranks_are_those_that_envoys_open(archives: Folders) -> None:
    given = {"source": "folder", "data_dir": str(archives[0]), "test_dir": str(archives[1]), "seed": 3}
    of_rank = SuperbShardDescriptor.of_all_ranks(2, **given)
    for rank in (1, 2):
        one, alone = of_rank(rank), SuperbShardDescriptor(f"{rank}, 2", **given)
        assert one.dataset_description == alone.dataset_description
        wave, label = one.get_dataset("val")[0]
        its_wave, its_label = alone.get_dataset("val")[0]
        assert (wave.tolist(), label) == (its_wave.tolist(), its_label)
