"""From an envoy's clips to a model's input, for any shard that yields (waveform, label)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import Wav2Vec2FeatureExtractor

from superb_ks.model.spec import SAMPLING_RATE, lengthened
from superb_ks.training.augmentation import Augmentation

SPLITS = ("train", "val", "test")
"""The splits of every shard."""
BATCH_SIZE = 32
"""Clips in one pass through a model that is not trained by it."""


class Clips(Protocol):
    """What a split must offer: items are (float32 waveform in [-1, 1] of shape [n_samples], int label)."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]: ...


class ClipDataset(Dataset):
    """Clips as a model takes them, one at a time; decoding happens at each access."""

    def __init__(
        self, clips: Clips, extractor: Wav2Vec2FeatureExtractor, augmentation: Augmentation | None = None
    ) -> None:
        """Wrap clips.

        Args:
            clips: 16 kHz waveforms with their labels.
            extractor: the model's feature extractor.
            augmentation: what is done to each clip at each access; None gives whole clips as they are.
        """
        self.clips = clips
        self.extractor = extractor
        self.augmentation = augmentation

    def for_training(self, augmentation: Augmentation) -> ClipDataset:
        """Return the same clips, each time in another take."""
        return ClipDataset(self.clips, self.extractor, augmentation)

    def __len__(self) -> int:
        return len(self.clips)

    def clip(self, index: int) -> tuple[np.ndarray, int]:
        """Return a clip, no shorter than a model can hear: float32 [n_samples], and its label."""
        waveform, label = self.clips[index]
        return lengthened(np.asarray(waveform, np.float32)), int(label)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return `{"input_values": float32 [n_samples], "labels": int}`."""
        waveform, label = self.clip(index)
        if self.augmentation is not None:
            waveform = lengthened(self.augmentation(waveform))
        features = self.extractor(waveform, sampling_rate=SAMPLING_RATE)
        return {"input_values": features["input_values"][0], "labels": label}

    def collate(self, items: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Join items to a batch, the shorter ones padded with zeros.

        Returns:
            `input_values` float32 [batch, longest], `labels` int64 [batch], and `attention_mask` [batch,
            longest] for the models that were trained with one (those with layer norm in their encoder).
        """
        batch = self.extractor.pad(
            {"input_values": [item["input_values"] for item in items]}, padding=True, return_tensors="pt"
        )
        return {**batch, "labels": torch.tensor([item["labels"] for item in items])}

    def equal_length_batches(self) -> Iterator[tuple[list[int], dict[str, torch.Tensor]]]:
        """Yield the indices of up to `BATCH_SIZE` clips of one length, and their batch, until all are read.

        No batch is padded: models with group norm take padding for sound, so a padded clip would not get the
        answer that it gets alone, from the transformers pipeline.
        """
        waiting: dict[int, dict[int, dict[str, Any]]] = defaultdict(dict)  # by length: items by index
        for index in range(len(self)):
            item = self[index]
            group = waiting[len(item["input_values"])]
            group[index] = item
            if len(group) == BATCH_SIZE:
                yield list(group), self.collate(list(group.values()))
                group.clear()
        for group in filter(None, waiting.values()):
            yield list(group), self.collate(list(group.values()))
