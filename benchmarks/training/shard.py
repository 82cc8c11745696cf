"""Shard descriptor of noise, copied into the envoys' folders for the federated training benchmark."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from openfl.interface.interactive_api.shard_descriptor import ShardDataset, ShardDescriptor

RATE = 16_000
LABELS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go", "_silence_", "_unknown_")


class NoiseShard(ShardDataset):
    """One-second clips of noise, made when they are asked for.

    Args:
        count: number of clips.
        seed: of the noise.
    """

    def __init__(self, count: int, seed: int) -> None:
        self._count = count
        self._seed = seed

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        """Return a waveform, float32 [16000], and its label."""
        draw = np.random.default_rng((self._seed, index))
        return draw.uniform(-0.1, 0.1, RATE).astype(np.float32), index % len(LABELS)


class NoiseShardDescriptor(ShardDescriptor):
    """A shard of noise.

    Args:
        rank_worldsize: "RANK, WORLD_SIZE".
        clips: training clips; validation and test have a tenth each.
    """

    def __init__(self, rank_worldsize: str = "1, 2", clips: int = 640) -> None:
        super().__init__()
        self._rank = int(rank_worldsize.split(",")[0])
        self._counts = {"train": clips, "val": max(1, clips // 10), "test": max(1, clips // 10)}

    def get_dataset(self, dataset_type: str = "train", **_: Any) -> NoiseShard:
        """Return one split."""
        return NoiseShard(self._counts[dataset_type], self._rank)

    @property
    def sample_shape(self) -> list[str]:
        """Shape of a second of audio."""
        return ["16000"]

    @property
    def target_shape(self) -> list[str]:
        """Shape of a label."""
        return ["1"]

    @property
    def dataset_description(self) -> str:
        """A shard card."""
        clips = {split: {LABELS[0]: count} for split, count in self._counts.items()}
        return json.dumps({"labels": LABELS, "clips": clips})
