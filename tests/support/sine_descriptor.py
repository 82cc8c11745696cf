"""A shard descriptor of a few sine waves, copied into the envoys' folders: a quick federation."""

import json
import math

import numpy as np
from openfl.interface.interactive_api.shard_descriptor import ShardDataset, ShardDescriptor

LABELS = ("low", "middle", "high")
SAMPLES = 256


class SineClips(ShardDataset):
    """Noisy sine waves; the label says how high."""

    def __init__(self, clips: int, seed: list[int]) -> None:
        draw = np.random.default_rng(seed)
        self.labels = np.arange(clips) % len(LABELS)
        cycles = 8.0 * (1 + self.labels[:, None])
        waves = np.sin(2 * math.pi * cycles * np.arange(SAMPLES) / SAMPLES)
        self.waves = (waves + 0.5 * draw.standard_normal(waves.shape)).astype(np.float32)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return self.waves[index], int(self.labels[index])


class SineShardDescriptor(ShardDescriptor):
    """Rank r has 12 r training clips, 6 r for validation and 6 r for test: no two shards weigh the same.

    Args:
        rank_worldsize: "RANK, WORLD_SIZE".
        sample_shape: what is announced to the director, which wants 16000.
    """

    def __init__(self, rank_worldsize: str = "1, 2", sample_shape: str = "16000") -> None:
        self.rank, self.world_size = (int(number) for number in rank_worldsize.split(","))
        sizes = {"train": 12 * self.rank, "val": 6 * self.rank, "test": 6 * self.rank}
        self._splits = {
            split: SineClips(clips, [self.rank, number])
            for number, (split, clips) in enumerate(sizes.items())
        }
        self._sample_shape = sample_shape

    def get_shard_dataset_types(self) -> list[str]:
        return list(self._splits)

    def get_dataset(self, dataset_type: str) -> SineClips:
        return self._splits[dataset_type]

    @property
    def sample_shape(self) -> list[str]:
        return [self._sample_shape]

    @property
    def target_shape(self) -> list[str]:
        return ["1"]

    @property
    def dataset_description(self) -> str:
        clips = {name: {LABELS[0]: len(split)} for name, split in self._splits.items()}
        return json.dumps(
            {"labels": LABELS, "clips": clips, "rank": self.rank, "world_size": self.world_size}
        )
