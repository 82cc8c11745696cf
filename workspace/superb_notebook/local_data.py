"""The owners' clips, where this machine can read them: for training without a federation."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import Wav2Vec2FeatureExtractor

from superb_ks.training.data import SPLITS, ClipDataset

ENVOY = Path(__file__).resolve().parents[2] / "envoy"
"""The folder with the owners' shard descriptor, which a notebook's machine need not have."""

Shard = dict[str, ClipDataset]


class LocalData:
    """All clips of a federation, which no data scientist has unless everything runs on one machine.

    Args:
        folders: `data_dir` and `test_dir` of the clips; None: they are out of reach.
        labels: class names in the order of their numbers.
    """

    def __init__(self, folders: Mapping[str, str] | None, labels: Sequence[str]) -> None:
        self._folders = folders
        self._labels = list(labels)

    @property
    def available(self) -> bool:
        """Whether the clips can be read."""
        return self._folders is not None

    def __str__(self) -> str:
        if self.available:
            return "This notebook can read the owners' clips"
        return "This notebook cannot read the owners' clips, as it should be: what needs them is left out"

    def pooled(self, extractor: Wav2Vec2FeatureExtractor) -> Shard:
        """Return all clips as one shard; its splits are empty where no clips can be read."""
        nothing: Shard = {split: ClipDataset([], extractor) for split in SPLITS}
        return next(iter(self.shards(extractor)), nothing)

    def shards(
        self, extractor: Wav2Vec2FeatureExtractor, count: int = 1, partition: str = "iid"
    ) -> list[Shard]:
        """Divide all clips as the envoys' shard descriptor does.

        Args:
            extractor: the model's feature extractor.
            count: number of shards; 1 pools everything.
            partition: "iid", "speaker", "dirichlet" or "quantity".

        Returns:
            `{"train": …, "val": …, "test": …}` for each shard; nothing where no clips can be read.
        """
        if self._folders is None:
            return []
        descriptor = _descriptor()
        divided = [
            descriptor(
                f"{rank}, {count}",
                source="folder",
                partition=partition,
                labels=self._labels,
                **self._folders,
            )
            for rank in range(1, count + 1)
        ]
        return [
            {split: ClipDataset(shard.get_dataset(split), extractor) for split in SPLITS} for shard in divided
        ]


def reachable_data(cards: Mapping[str, Mapping[str, Any]]) -> LocalData:
    """Return the clips that all cards name together, or none, which is the normal answer.

    Args:
        cards: the shard cards; they must name the same folders, and this machine must be able to read them.
    """
    first = next(iter(cards.values()))
    folders = {name: first.get(name, "") for name in ("data_dir", "test_dir")}
    same = all(card.get(name) == folder for card in cards.values() for name, folder in folders.items())
    data_dir = Path(folders["data_dir"])
    readable = bool(folders["data_dir"]) and data_dir.is_dir() and (ENVOY / "speech_commands").is_dir()
    return LocalData(folders if same and readable else None, first["labels"])


def _descriptor() -> Any:
    """Import the owners' shard descriptor, which is no part of the notebook's packages."""
    if str(ENVOY) not in sys.path:
        sys.path.append(str(ENVOY))
    return importlib.import_module("superb_shard_descriptor").SuperbShardDescriptor
