"""An envoy's shard as OpenFL hands it to the tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openfl.interface.interactive_api.experiment import DataInterface

from superb_ks.model.spec import ModelSpec
from superb_ks.training.data import SPLITS, ClipDataset


class ShardData(DataInterface):
    """An envoy's shard, as the tasks receive it: one `ClipDataset` for each split."""

    def __init__(self, spec: ModelSpec) -> None:
        """Keep the specification of the model that the clips are prepared for."""
        super().__init__()
        self.spec = spec
        self._shard: dict[str, ClipDataset] | None = None

    @property
    def shard_descriptor(self) -> Any:
        """The envoy's shard descriptor, which OpenFL sets on the envoy."""
        return self._shard_descriptor

    @shard_descriptor.setter
    def shard_descriptor(self, shard_descriptor: Any) -> None:
        self._shard_descriptor = shard_descriptor
        self._shard = None

    def get_train_loader(self, **kwargs: Any) -> Mapping[str, ClipDataset]:
        """Return `{"train": …, "val": …, "test": …}`: a task chooses its split by name."""
        if self._shard is None:
            extractor = self.spec.feature_extractor()
            self._shard = {
                split: ClipDataset(self.shard_descriptor.get_dataset(split), extractor) for split in SPLITS
            }
        return self._shard

    def get_valid_loader(self, **kwargs: Any) -> Mapping[str, ClipDataset]:
        """Return the same mapping as `get_train_loader`."""
        return self.get_train_loader()

    def get_train_data_size(self) -> int:
        """Return how many clips this envoy trains on: its weight in the average of the models."""
        return len(self.get_train_loader()["train"])

    def get_valid_data_size(self) -> int:
        """Return how many clips this envoy validates on."""
        return len(self.get_train_loader()["val"])
