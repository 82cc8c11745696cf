"""An envoy's shard as the tasks receive it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from superb_ks.model.spec import ModelSpec
from superb_ks.training.data import SPLITS, ClipDataset


def open_shard(shard_descriptor: Any, spec: ModelSpec) -> Mapping[str, ClipDataset]:
    """Return `{"train": …, "val": …, "test": …}`: a task chooses its split by name.

    Args:
        shard_descriptor: the envoy's.
        spec: of the model that the clips are prepared for.
    """
    extractor = spec.feature_extractor()
    return {split: ClipDataset(shard_descriptor.get_dataset(split), extractor) for split in SPLITS}
