"""What callers may hold of the director: bytes, calls at a time, and time.

The director's service runs on one event loop, so a caller that waits costs no thread; what is bounded is
memory, disk, and how much work callers may ask for at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from experiment_store import Refused

MEGABYTE = 2**20
#: The longest message is a submission's first: it holds the archive, of 32 MiB as the gate's limits are.
MESSAGE_BYTES = 33 * MEGABYTE
#: What gRPC's server is told, in place of OpenFL's own options or beside them. For the reasons see the
#: aggregator's, in ``workspace/superb_ks/guard.py``.
SERVER_OPTIONS: dict[str, int] = {
    "grpc.max_receive_message_length": MESSAGE_BYTES,
    "grpc.max_metadata_size": 16 * 2**10,
    "grpc.max_concurrent_streams": 100,
    "grpc.max_allowed_incoming_connections": 400,
    "grpc.server_handshake_timeout_ms": 10_000,
    "grpc.max_connection_idle_ms": 300_000,
}
#: Submissions that are received at a time. Each holds its archive in memory.
SUBMISSIONS = 4
#: Viewers that follow experiments at a time. Each looks for news fifty times a second.
VIEWERS = 64
#: So many bytes of a submission have to arrive in so many seconds of waiting for them: 23 kB a second.
PART_BYTES, SECONDS_A_PART = 2**20, 45.0
#: Float32 values of a model: 4 GiB, four times wav2vec2-xls-r-300m.
MODEL_SIZE = 2**30
#: Envoys that are remembered, and the bytes that one may say of itself and its shard.
ENVOYS, CARD_BYTES = 1000, 64 * 2**10
#: Letters of a report, such as a traceback.
REPORT_LETTERS = 20_000


class Stalled(ConnectionError):
    """A caller that began a submission and does not go on."""


class Busy(RuntimeError):
    """More calls of a kind at a time than the director serves."""


class Places:
    """A number of places for calls of one kind.

    Args:
        count: how many.
        kind: in the plural, for the message.
    """

    def __init__(self, count: int, kind: str) -> None:
        self._count, self._kind, self._taken = count, kind, 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Hold a place inside the context.

        Raises:
            Busy: all are taken.
        """
        if self._taken >= self._count:
            raise Busy(f"the director serves {self._count} {self._kind} at a time; try again later")
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1


async def timely(messages: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """Yield the messages of a submission as they arrive.

    Raises:
        Stalled: the next part did not arrive in time, however many small pieces did.
    """
    left, received = SECONDS_A_PART, 0
    while True:
        asked_at = time.monotonic()
        try:
            message = await asyncio.wait_for(anext(messages), max(left, 0.001))
        except StopAsyncIteration:
            return
        except asyncio.TimeoutError:
            raise Stalled(f"less than {PART_BYTES:,} bytes in {SECONDS_A_PART:g} s of waiting") from None
        left -= time.monotonic() - asked_at
        received += len(message.experiment_data.npbytes)
        if received >= PART_BYTES:
            left, received = SECONDS_A_PART, 0
        yield message


def announced_size(head: Any) -> int | None:
    """Return how many float32 values follow a submission's first message; None if it is to be resumed.

    Raises:
        Refused: it says that in no legal way.
    """
    if not head.model_proto.tensors:
        return None
    shapes = [tuple(each.int_list) for each in head.model_proto.tensors[0].transformer_metadata[:1]]
    if len(shapes) != 1 or len(shapes[0]) != 1 or not 1 <= shapes[0][0] <= MODEL_SIZE:
        shape = ", ".join(map(str, shapes[0][:8])) if shapes else "none"
        raise Refused(f"the model's shape is ({shape}); legal is one number of 1 to {MODEL_SIZE:,} values")
    return int(shapes[0][0])


def require_moderate_card(shard: Any) -> None:
    """Check what an envoy says of its shard, which the director keeps in memory.

    Raises:
        Refused: it is too long, or lacks a shape.
    """
    if shard.ByteSize() > CARD_BYTES:
        raise Refused(f"the shard's description has {shard.ByteSize():,} bytes; {CARD_BYTES:,} are legal")
    if not shard.sample_shape or not shard.target_shape:
        raise Refused("the shard has no sample_shape or no target_shape")
