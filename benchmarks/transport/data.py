"""A data loader without data, for the two engines that are OpenFL."""

from __future__ import annotations

from typing import Any

from openfl.interface.interactive_api.experiment import DataInterface


class NoData(DataInterface):
    """Every client counts the same and has nothing to read."""

    @property
    def shard_descriptor(self) -> Any:
        """The envoy's shard descriptor, which is not asked for anything."""
        return None

    @shard_descriptor.setter
    def shard_descriptor(self, shard_descriptor: Any) -> None:
        pass

    def get_train_loader(self, **_: Any) -> list[Any]:
        """Return no clips."""
        return []

    def get_valid_loader(self, **_: Any) -> list[Any]:
        """Return no clips."""
        return []

    def get_train_data_size(self) -> int:
        """Return the weight in the average."""
        return 1

    def get_valid_data_size(self) -> int:
        """Return the weight in pooled metrics."""
        return 1
