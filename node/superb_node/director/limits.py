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

from superb_node.channel_options import SERVER_OPTIONS as COMMON_SERVER_OPTIONS
from superb_node.director.experiment_store import Refused
from superb_node.shard_card import MAX_BYTES, MAX_LETTERS, NoCard, read_card

MEGABYTE = 2**20
MESSAGE_BYTES = 4 * MEGABYTE
"""The longest messages are an experiment's text and a part of a model, of at most a megabyte each."""
SERVER_OPTIONS: dict[str, int] = {
    **COMMON_SERVER_OPTIONS,
    # Corrects: OpenFL takes messages of 1 GiB, from anybody, into memory.
    "grpc.max_receive_message_length": MESSAGE_BYTES,
}
MAX_SUBMISSIONS = 4
"""Submissions that are received at a time. Each holds a text in memory."""
MAX_VIEWERS = 64
"""Viewers that follow experiments at a time. Each looks for news fifty times a second."""
PART_BYTES, PART_TIMEOUT_SECONDS = MEGABYTE, 45.0
"""The least that has to arrive of a submission, and in how many seconds of waiting for it: 23 kB a second."""
MAX_MODEL_SIZE = 2**30
"""Float32 values of a model: 4 GiB, four times wav2vec2-xls-r-300m."""
MAX_ENVOYS = 1000
"""Envoys that are remembered."""
MAX_REPORT_CHARACTERS = 20_000
"""Of a report, such as a traceback."""


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
    left, received = PART_TIMEOUT_SECONDS, 0
    while True:
        asked_at = time.monotonic()
        try:
            message = await asyncio.wait_for(anext(messages), max(left, 0.001))
        except StopAsyncIteration:
            return
        except asyncio.TimeoutError:
            raise Stalled(
                f"less than {PART_BYTES:,} bytes in {PART_TIMEOUT_SECONDS:g} s of waiting"
            ) from None
        left -= time.monotonic() - asked_at
        received += len(message.experiment_data.npbytes)
        if received >= PART_BYTES:
            left, received = PART_TIMEOUT_SECONDS, 0
        yield message


def announced_size(head: Any) -> int | None:
    """Return how many float32 values follow a submission's first message; None if it is to be resumed.

    Raises:
        Refused: it says that in no legal way.
    """
    if not head.model_proto.tensors:
        return None
    shapes = [tuple(metadata.int_list) for metadata in head.model_proto.tensors[0].transformer_metadata[:1]]
    if len(shapes) != 1 or len(shapes[0]) != 1 or not 1 <= shapes[0][0] <= MAX_MODEL_SIZE:
        shape = ", ".join(map(str, shapes[0][:8])) if shapes else "none"
        raise Refused(f"the model's shape is ({shape}); legal: one number of 1 to {MAX_MODEL_SIZE:,} values")
    return int(shapes[0][0])


class IllegalShard(Refused):
    """An envoy describes its shard in no legal way, and would again."""


def require_legal_shard(shard: Any) -> None:
    """Check what an envoy says of its shard, which the director keeps in memory and shows to every notebook.

    Raises:
        IllegalShard: it is too long, lacks a shape, or its description is no shard card.
    """
    name = repr(shard.node_info.name[:MAX_LETTERS])
    if shard.ByteSize() > MAX_BYTES:
        raise IllegalShard(
            f"envoy {name} describes itself in {shard.ByteSize():,} bytes; {MAX_BYTES:,} are legal"
        )
    if not shard.sample_shape or not shard.target_shape:
        raise IllegalShard(f"the shard of envoy {name} has no sample_shape or no target_shape")
    try:
        read_card(shard.shard_description)
    except NoCard as error:
        raise IllegalShard(
            f"envoy {name} is left out, its dataset_description is no shard card: {error}"
        ) from error
