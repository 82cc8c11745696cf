"""Which envoy has which name: a living one keeps its name from others, such as those of a copied folder."""

from __future__ import annotations

import time
from collections.abc import MutableMapping
from typing import Any

from superb_node.director.authorization import AccessRules, PermissionDenied
from superb_node.director.experiment_store import Refused
from superb_node.director.limits import MAX_ENVOYS
from superb_node.names import fault_of_envoy_name


class EnvoyNames:
    """The names of registered envoys, each with the folder in which its envoy runs.

    Args:
        shards: OpenFL's registry, by name; those of silent envoys are removed when there are too many.
        access_rules: know which envoys may take part.
        silence_seconds: after which an envoy is taken for dead.
    """

    def __init__(
        self, shards: MutableMapping[str, dict[str, Any]], access_rules: AccessRules, silence_seconds: float
    ) -> None:
        self._shards = shards
        self._access_rules = access_rules
        self.silence_seconds = silence_seconds
        self.homes: dict[str, str] = {}

    def claim(self, name: str, home: str) -> None:
        """Make sure that the envoy of folder `home` may have `name`.

        Raises:
            Refused: a living envoy of another folder has it, or it is illegal or not on the list of envoys.
        """
        require_legal(name)
        try:
            self._access_rules.authorize_name(name)
        except PermissionDenied as denied:
            raise Refused(f"envoy {name!r}: {denied}") from denied
        if name not in self.homes and len(self.homes) >= MAX_ENVOYS:
            self._forget_silent()
            if len(self.homes) >= MAX_ENVOYS:
                raise Refused(
                    f"{MAX_ENVOYS} envoys are registered, which is as many as the director remembers"
                )
        shard = self._shards.get(name, {})
        lives = time.time() < shard.get("last_updated", 0) + shard.get("valid_duration", 0)
        if lives and self.homes.get(name, home) != home:
            raise Refused(
                f"an envoy named {name!r} takes part already; choose another name: bash start_envoy.sh NAME. "
                f"If it has just moved here, wait {shard['valid_duration']} s"
            )

    def record(self, name: str, home: str) -> None:
        """Remember that the envoy `name`, whose shard was accepted, runs in folder `home`."""
        self.homes[name] = home

    def __contains__(self, name: str) -> bool:
        return name in self._shards

    def seconds_of_silence(self, name: str) -> float:
        """Return how long ago an envoy sent its last heartbeat."""
        return time.time() - float(self._shards.get(name, {}).get("last_updated", 0))

    def is_silent(self, name: str) -> bool:
        """Return whether an envoy is taken for dead."""
        return self.seconds_of_silence(name) > self.silence_seconds

    def _forget_silent(self) -> None:
        for name in set(self.homes) | set(self._shards):
            if self.is_silent(name):
                self.homes.pop(name, None)
                self._shards.pop(name, None)


def require_legal(*names: str) -> None:
    """Check names of envoys, which come from outside.

    Raises:
        Refused: one is illegal.
    """
    for name in names:
        if fault := fault_of_envoy_name(name):
            raise Refused(fault)
