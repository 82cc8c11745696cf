"""What comes of a round's questions: whose answer it is, why one is missing, and which can be used.

`Grid.send_and_receive` waits for ever for a node that has left the federation, and looks for answers every
three seconds. Of an answer that will not come Flower tells neither node nor name, only which question it
belongs to.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from flwr.app import Message, MetricRecord
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid

from superb_flower import messages
from superb_ks.aggregator.strategies.updates import UpdateRefused, require_usable
from superb_ks.metrics import CLIPS, cap
from superb_ks.schedule import TRAIN

_POLL_SECONDS = 0.1
_NOT_THERE = (ErrorCode.MESSAGE_UNAVAILABLE, ErrorCode.REPLY_MESSAGE_UNAVAILABLE, ErrorCode.NODE_UNAVAILABLE)


@dataclass(frozen=True)
class Answer:
    """What came of one question.

    Attributes:
        node: Flower's number of who was asked.
        reply: None if none came.
        fault: why none came, if so.
        failed: whether the client failed at what it was asked, and was not just out of reach.
    """

    node: int
    reply: Message | None
    fault: str = ""
    failed: bool = False


def ask(grid: Grid, questions: Sequence[Message], seconds: float | None) -> Iterator[Answer]:
    """Send questions, each to another node, and yield what comes of each, as it comes.

    Args:
        grid: reaches the nodes.
        questions: numbered by this.
        seconds: how long to wait for the answers; None: for as long as the nodes are there.
    """
    sent = set(grid.push_messages(questions))
    waiting = {}
    for question in questions:
        node, number = question.metadata.dst_node_id, question.metadata.message_id
        if number in sent:
            waiting[number] = node
        else:
            yield Answer(node, None, "it has left, or Flower does not take a message of this size")
    deadline = time.monotonic() + (math.inf if seconds is None else seconds)
    while waiting and time.monotonic() < deadline:
        for reply in grid.pull_messages(list(waiting)):
            node = waiting.pop(reply.metadata.reply_to_message_id)
            if reply.has_error():
                yield Answer(node, None, str(reply.error.reason), reply.error.code not in _NOT_THERE)
            else:
                yield Answer(node, reply)
        time.sleep(_POLL_SECONDS)
    for node in waiting.values():
        yield Answer(node, None, f"no answer within {seconds:g} s")


def admit_reply(reply: Message, name: str, size: int, counts: Mapping[str, int], *, trained: bool) -> str:
    """Make sure that a reply can be used, as the director does of what an envoy sends.

    The reply then has the name of who was asked, whatever it calls itself, and claims no more clips to have
    trained on than its shard card counts.

    Args:
        reply: changed in place.
        name: of who was asked.
        size: of the model.
        counts: clips of each split on its shard card.
        trained: whether it was to train, and so to send weights.

    Returns:
        What it claimed beyond its card, in words; empty if nothing.

    Raises:
        UpdateRefused: it is no report, or its weights cannot be averaged.
    """
    try:
        measured = messages.metrics_of(reply)
        messages.call_it(reply, name)
        if not trained:
            return ""
        claims = cap(TRAIN, measured[TRAIN], counts)
        clips = int(measured[TRAIN][CLIPS])
        vector = messages.vector_of(reply)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise UpdateRefused(f"{name} sent no report of its tasks: {type(error).__name__}: {error}") from error
    require_usable(name, clips, vector, size)
    reply.content[messages.METRICS] = MetricRecord({CLIPS: clips})
    return "; ".join(claims)
