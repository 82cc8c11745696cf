"""What callers may hold of the director: bytes, calls at a time, and time.

The director's service runs on one event loop, so a caller that waits costs no thread; what is bounded is
memory, disk, and how much work callers may ask for at once.
"""

from __future__ import annotations

import asyncio
import resource
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from superb_ks.aggregator.limits import MAX_MESSAGE_BYTES, PART_TIMEOUT_SECONDS
from superb_ks.experiment import MAX_MODEL_SIZE
from superb_ks.transport.parts import PART_BYTES
from superb_node.channel_options import SERVER_OPTIONS as COMMON_SERVER_OPTIONS
from superb_node.director.experiment_store import Refused
from superb_node.shard_card import MAX_BYTES, MAX_LETTERS, NoCard, read_card
from superb_node.text import quoted

SERVER_OPTIONS: dict[str, int] = {
    # Corrects: OpenFL takes messages of 1 GiB, from anybody, into memory.
    "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
}
"""Besides those that `channel_options.set_server_options` gives every server of the process."""
MAX_SUBMISSIONS, MAX_SUBMISSIONS_OF_ONE = 4, 2
"""Submissions that are received at a time, in all and of one author. Each holds a text in memory."""
MAX_VIEWERS, MAX_VIEWERS_OF_ONE = 64, 16
"""Viewers that follow experiments at a time, in all and of one author. Each looks for news fifty times a
second."""
HEARTBEAT_BYTES, MAX_DEVICES = 16_384, 64
"""Of an envoy's heartbeat, and the CUDA devices that it may have: all of it is kept and told to notebooks."""
MAX_ENVOYS = 1000
"""Envoys that are remembered."""
MAX_REPORT_CHARACTERS = 20_000
"""Of a report, such as a traceback."""
OPEN_FILES = 1024
"""What many systems let a process have open: enough for a director and one aggregator."""


def allow_open_files(aggregators: int) -> None:
    """Let this process have open what the connections of so many aggregators take, if its system does."""
    wanted = OPEN_FILES + (aggregators - 1) * COMMON_SERVER_OPTIONS["grpc.max_allowed_incoming_connections"]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if aggregators > 1 and soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Stalled(ConnectionError):
    """A caller that began a submission and does not go on."""


class Busy(RuntimeError):
    """More of a kind at a time than the director serves, or keeps waiting."""


class Places:
    """A number of places for calls of one kind.

    Args:
        count: how many.
        of_one: how many of them one caller may hold.
        kind: in the plural, for the message.
    """

    def __init__(self, count: int, of_one: int, kind: str) -> None:
        self._count, self._of_one, self._kind = count, of_one, kind
        self._taken: Counter[str] = Counter()

    @contextmanager
    def one(self, caller: str) -> Iterator[None]:
        """Hold a place for a caller inside the context.

        Raises:
            Busy: all are taken, or all of this caller's.
        """
        if self._taken.total() >= self._count:
            raise Busy(f"the director serves {self._count} {self._kind} at a time; try again later")
        if self._taken[caller] >= self._of_one:
            raise Busy(f"the director serves {self._of_one} {self._kind} of one author at a time")
        self._taken[caller] += 1
        try:
            yield
        finally:
            self._taken[caller] -= 1
            self._taken += Counter()  # forgets who holds none


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


def require_legal_heartbeat(request: Any) -> None:
    """Check an envoy's heartbeat.

    Raises:
        Refused: it is too long.
    """
    if request.ByteSize() > HEARTBEAT_BYTES:
        name = quoted(request.name)
        raise Refused(f"a heartbeat of envoy {name} has over {HEARTBEAT_BYTES:,} bytes")


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
    if len(shard.node_info.cuda_devices) > MAX_DEVICES:
        raise IllegalShard(f"envoy {name} has over {MAX_DEVICES} CUDA devices")
    if not shard.sample_shape or not shard.target_shape:
        raise IllegalShard(f"the shard of envoy {name} has no sample_shape or no target_shape")
    try:
        read_card(shard.shard_description)
    except NoCard as error:
        raise IllegalShard(
            f"envoy {name} is left out, its dataset_description is no shard card: {error}"
        ) from error
