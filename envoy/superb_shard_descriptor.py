"""Shard descriptor of SUPERB keyword spotting: the clips of one envoy, decoded one at a time."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speech_commands.card import shard_card
from speech_commands.reader.table import Split
from speech_commands.settings import Settings, read_settings
from speech_commands.shard import Shard, Shards
from superb_node.audio import SAMPLE_RATE
from superb_node.errors import DataError, require_one_of
from superb_node.shard_card import SPLITS

try:
    from openfl.interface.interactive_api.shard_descriptor import ShardDataset, ShardDescriptor
except ModuleNotFoundError:  # on Flower nothing else needs it
    ShardDataset = ShardDescriptor = object


class SuperbShardDataset(ShardDataset):
    """The clips of one split of one shard."""

    def __init__(self, split: Split) -> None:
        """Wrap a split without decoding it."""
        self._split = split

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self._split)

    @property
    def labels(self) -> NDArray[np.int64]:
        """Label id of each clip, shape [n]; no clip is decoded."""
        return self._split.table.labels

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], int]:
        """Decode one clip.

        Returns:
            waveform in [-1, 1] at 16 kHz, float32, shape [n_samples], and the label id.
        """
        return self._split.read(index)


class SuperbShardDescriptor(ShardDescriptor):
    """Speech Commands with SUPERB's classes and splits, divided among the envoys of a federation.

    Args:
        rank_worldsize: "RANK, WORLD_SIZE": this envoy's shard, from 1, and the number of shards. None: all
            clips in the folder, which are this owner's own recordings and not a share of a common corpus.
        source: "synthetic" (spoken on first use), "folder", "hub" or "archives".
        data_dir: folder of the training archive, for "folder".
        test_dir: folder of the test archive, by default next to `data_dir`. "testing_list": there is no such
            archive, and `testing_list.txt` in `data_dir` names the test clips.
        partition: "iid", "speaker" (no speaker in two shards), "dirichlet" (skewed labels) or "quantity"
            (skewed sizes).
        seed: of partition, silence crops and synthetic speech; the same for all envoys.
        more: further settings, each with a default; see `speech_commands.settings.Settings`.

    Attributes:
        labels: class names in the order of their ids.

    Raises:
        DataError: the value of a setting is not legal, or the data are missing, empty or not audio.
    """

    def __init__(
        self,
        rank_worldsize: str | None = "1, 2",
        source: str = "synthetic",
        data_dir: str | None = None,
        test_dir: str | None = None,
        partition: str = "iid",
        seed: int = 0,
        **more: Any,
    ) -> None:
        """Index the clips of this envoy."""
        if rank_worldsize is None and source != "folder":
            raise DataError(
                f"rank_worldsize is null, which is for an owner's own clips, and source is {source!r}; "
                "legal: source folder, or two numbers such as '1, 2'"
            )
        rank, world_size = parse_rank_worldsize(rank_worldsize or "1, 1")
        named = {"source": source, "data_dir": data_dir, "test_dir": test_dir}
        settings = read_settings({**named, "partition": partition, "seed": seed, **more})
        shard = Shards(settings, world_size).open(rank)
        self._take(settings, shard, rank, world_size, is_share=rank_worldsize is not None)

    @classmethod
    def of_all_ranks(cls, world_size: int, **params: Any) -> Callable[[int], SuperbShardDescriptor]:
        """Return what makes the descriptor of a rank from 1: for a process that plays many envoys.

        The clips of all are indexed and divided once; a descriptor costs its own clips.

        Args:
            world_size: number of shards.
            params: those of a descriptor, without `rank_worldsize`.

        Raises:
            DataError: as a descriptor does.
        """
        settings = read_settings(params)
        shards = Shards(settings, world_size)

        def of_rank(rank: int) -> SuperbShardDescriptor:
            descriptor = cls.__new__(cls)
            descriptor._take(settings, shards.open(rank), rank, world_size)
            return descriptor

        return of_rank

    def _take(
        self, settings: Settings, shard: Shard, rank: int, world_size: int, is_share: bool = True
    ) -> None:
        self.rank, self.world_size, self.labels = rank, world_size, settings.labels
        self._splits = shard.splits
        facts = {"scenario": asdict(settings.scenario)} if settings.scenario else {}
        self._card = shard_card(
            self._splits,
            self.labels,
            source=settings.source,
            partition=settings.partition,
            rank=rank if is_share else None,
            world_size=world_size if is_share else None,
            skipped=shard.skipped,
            **facts,
        )

    def get_shard_dataset_types(self) -> list[str]:
        """Return the names of the splits."""
        return list(SPLITS)

    def get_dataset(self, dataset_type: str = "train") -> SuperbShardDataset:
        """Return one split of this shard.

        Raises:
            DataError: there is no split `dataset_type`.
        """
        require_one_of("dataset_type", dataset_type, SPLITS)
        return SuperbShardDataset(self._splits[dataset_type])

    @property
    def paths(self) -> set[str]:
        """The folders of the clips: what of this machine's files an experiment may read."""
        names = {split.name(key) for split in self._splits.values() for key in split.table.keys.tolist()}
        return {folder for folder in map(os.path.dirname, names) if os.path.isdir(folder)}

    @property
    def sample_shape(self) -> list[str]:
        """Shape of a one-second waveform, which OpenFL compares with the director's."""
        return [str(SAMPLE_RATE)]

    @property
    def target_shape(self) -> list[str]:
        """Shape of a label, which OpenFL compares with the director's."""
        return ["1"]

    @property
    def dataset_description(self) -> str:
        """The shard card: one line of JSON with clips per class, speakers and seconds of each split."""
        return self._card


def parse_rank_worldsize(text: str) -> tuple[int, int]:
    """Read "RANK, WORLD_SIZE".

    Raises:
        DataError: `text` is not two numbers with 1 <= RANK <= WORLD_SIZE.
    """
    try:
        rank, world_size = (int(number) for number in str(text).split(","))
    except ValueError as error:
        raise DataError(f"rank_worldsize is {text!r}; expected two numbers such as '1, 2'") from error
    if not 1 <= rank <= world_size:
        raise DataError(f"rank_worldsize is {text!r}; the rank must be 1 to {max(world_size, 1)}")
    return rank, world_size
