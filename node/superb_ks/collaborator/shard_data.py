"""An envoy's shard as the tasks receive it."""

from __future__ import annotations

from typing import Any

from transformers import Wav2Vec2FeatureExtractor

from superb_ks.training.data import SPLITS, ClipDataset


def open_shard(shard_descriptor: Any, extractor: Wav2Vec2FeatureExtractor) -> dict[str, ClipDataset]:
    """Return `{"train": …, "val": …, "test": …}`: a task chooses its split by name.

    Args:
        shard_descriptor: the envoy's.
        extractor: of the model that the clips are prepared for.
    """
    return {split: ClipDataset(shard_descriptor.get_dataset(split), extractor) for split in SPLITS}
