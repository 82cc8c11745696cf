"""The aggregator's side of an upload: who may send now, and where the bytes go."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from openfl.protocols import aggregator_pb2

from superb_ks.aggregator.limits import StalledStream
from superb_ks.aggregator.membership import Membership
from superb_ks.aggregator.strategies.updates import Recycle, Updates
from superb_ks.metrics import Metrics
from superb_ks.transport import messages
from superb_ks.types import Vector

# Vectors of the model's size that may be in memory at once, however many collaborators there are: the sum and
# one update. More would let more of them upload before their turn.
MODELS_IN_MEMORY = 2


@dataclass(frozen=True)
class Results:
    """What one upload held: metrics, and weights `[size]`, or why there are none."""

    metrics: Metrics
    weights: Vector | None = None
    refusal: str | None = None


class UploadReplaced(RuntimeError):
    """The same collaborator began another upload while this one waited for its turn."""


class UploadQueue:
    """Reads uploads into memory, no more of them at a time than the director's memory is meant for.

    An average adds updates in a fixed order (see `FederatedAverage`). A collaborator that is done before its
    turn may upload while there is room; otherwise its stream waits, and with it the sender.

    Args:
        changed: the aggregator's condition; notified when an update was added or the round ended.
        size: elements of the model.
        members: who may upload.
        collect: makes what takes in the updates of one round, from the names of those who train in it, the
            model's size and what gets arrays that are not needed any more.
        give_up: is told the name of a collaborator whose upload stalled, and how.
    """

    def __init__(
        self,
        changed: threading.Condition,
        size: int,
        members: Membership,
        collect: Callable[[Iterable[str], int, Recycle], Updates],
        give_up: Callable[[str, str], None],
    ) -> None:
        self._changed = changed
        self._size = size
        self._members = members
        self._receiving: set[str] = set()
        self._waiting: set[str] = set()
        self._spare: list[Vector] = []
        self._closed = False
        self._collect = collect
        self._give_up = give_up
        # The last upload that each collaborator began.
        self._latest: dict[str, object] = {}
        self._updates = self.start_round([])

    @property
    def under_way(self) -> set[str]:
        """Those who are sending an update, or wait for others to be done before they may."""
        return self._waiting | self._receiving

    def start_round(self, names: Iterable[str]) -> Updates:
        """Receive the updates of `names`, and forget those of the round before."""
        self._updates = self._collect(names, self._size, self.recycle)
        self._receiving.clear()
        self._latest.clear()
        return self._updates

    def recycle(self, vector: Vector) -> None:
        """Keep an array for the next upload: fresh memory costs more time than the copy into it."""
        with self._changed:
            if not self._closed and len(self._spare) < MODELS_IN_MEMORY:
                self._spare.append(vector)

    def close(self) -> None:
        """Let go of uploads that wait, and of every array."""
        with self._changed:
            self._closed = True
            self._spare.clear()
            self.start_round([])
            self._changed.notify_all()

    def done_with(self, name: str) -> None:
        """Note that the upload of `name` is in the round's hands; the caller holds the condition."""
        self._receiving.discard(name)
        self._changed.notify_all()

    def receive(self, head: aggregator_pb2.TaskResults, parts: Iterable[bytes]) -> Results:
        """Read one upload: what its first message says, and the bytes that follow.

        Raises:
            superb_ks.transport.messages.DamagedUpload: the stream breaks off, or its metrics are damaged.
            superb_ks.aggregator.limits.StalledStream: its sender was waited for too long.
            UploadReplaced: its sender began another one.
        """
        metrics = messages.read_metrics(head.tensors)
        size = messages.announced_size(head.tensors)
        if size is None or head.header.sender not in self._members.present:
            return Results(metrics)
        if size != self._size:
            return Results(metrics, refusal=f"sent {size} values, the model has {self._size}")
        return self._read(head.header.sender, metrics, parts)

    def _read(self, name: str, metrics: Metrics, parts: Iterable[bytes]) -> Results:
        """Wait for room, then read the weights, unless the round ended meanwhile.

        One upload of a collaborator is received at a time, and one more waits: the latest, since it begins
        another one when the line to the aggregator broke.
        """
        with self._changed:
            updates, upload = self._updates, object()
            self._latest[name] = upload
            self._waiting.add(name)
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: (
                    updates is not self._updates
                    or self._latest.get(name) is not upload
                    or (name not in self._receiving and self.may_send(name))
                )
            )
            if updates is not self._updates:
                self._waiting.discard(name)
                return Results(metrics, refusal="came too late")
            if self._latest[name] is not upload:
                raise UploadReplaced(f"{name} began another upload")
            self._waiting.discard(name)
            self._receiving.add(name)
            vector = self._spare.pop() if self._spare else np.empty(self._size, np.float32)
        try:
            return Results(metrics, messages.fill(vector, parts))
        except BaseException as error:
            with self._changed:
                if updates is self._updates:
                    self._receiving.discard(name)
                if isinstance(error, StalledStream):
                    self._give_up(name, f"its upload {error}")
                self._changed.notify_all()
            raise

    def may_send(self, name: str) -> bool:
        """Say whether an upload fits in.

        The one whose turn it is always does. As long as nothing has been summed the one after it may come
        first, since the two together take no more room than the sum and one update do later.
        """
        turns, held = self._updates.turns[:2], self._updates.models_held
        if not turns:
            return held + len(self._receiving) < MODELS_IN_MEMORY
        return name == turns[0] or (name in turns and not held and self._receiving <= set(turns))
