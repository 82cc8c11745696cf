"""Shard descriptor without data, copied into the envoys' folders: the job needs none."""

from __future__ import annotations

import json
from typing import Any

from openfl.interface.interactive_api.shard_descriptor import ShardDescriptor


class EmptyShardDescriptor(ShardDescriptor):
    """Announces what the director wants to hear.

    Args:
        rank_worldsize: "RANK, WORLD_SIZE", as every envoy of this project has it.
    """

    def __init__(self, rank_worldsize: str = "1, 2", **_: Any) -> None:
        super().__init__()
        self.rank_worldsize = rank_worldsize

    def get_dataset(self, dataset_type: str = "train", **_: Any) -> list[Any]:
        """Return no clips."""
        return []

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
        """A shard card with two classes and a clip of each."""
        clips = dict.fromkeys(("train", "val", "test"), {"yes": 1, "no": 1})
        return json.dumps({"labels": ["yes", "no"], "clips": clips, "rank_worldsize": self.rank_worldsize})
