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

import numpy as np
from flwr.app import Message
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid

from superb_flower import messages
from superb_ks.aggregator.strategies.updates import UpdateRefused, require_usable
from superb_ks.metrics import CLIPS, MAX_RECORDS, Metrics, admit, cap, count_records
from superb_ks.schedule import TRAIN
from superb_node.command_line import MAX_LOGGED_CHARACTERS
from superb_node.text import safe_line, safe_lines, shortened

Counts = Mapping[str, int]
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
                reason = safe_lines(shortened(str(reply.error.reason), MAX_LOGGED_CHARACTERS))
                yield Answer(node, None, reason, reply.error.code not in _NOT_THERE)
            elif fault := messages.fault_in(reply):
                yield Answer(node, None, safe_line(shortened(fault, MAX_LOGGED_CHARACTERS)), failed=True)
            else:
                yield Answer(node, reply)
        time.sleep(_POLL_SECONDS)
    for node in waiting.values():
        yield Answer(node, None, f"no answer within {seconds:g} s")


@dataclass(frozen=True)
class Report:
    """A reply that can be used.

    Attributes:
        name: of who was asked, whatever the reply calls its sender.
        measured: what each task measured, by its name.
        update: the reply, for a strategy, if it has trained; its clips are those of `measured`.
        notes: what of it was left out or lowered: the kind of the note, and words.
    """

    name: str
    measured: dict[str, Metrics]
    update: Message | None
    notes: list[tuple[str, str]]


def read_report(reply: Message, name: str, asked: Sequence[str], size: int, counts: Counts) -> Report:
    """Take from a reply what was asked for, as the director does with what an envoy sends.

    Args:
        reply: changed in place.
        name: of who was asked.
        asked: names of the tasks.
        size: of the model.
        counts: clips of each split on the shard card, beyond which no claim counts.

    Raises:
        UpdateRefused: it is no report of these tasks, or its weights cannot be averaged.
    """
    try:
        told = messages.metrics_of(reply)
        if others := [ascii(task[:60]) for task in told if task not in asked]:
            raise UpdateRefused(f"{name} reports {others[0]}, which it was not asked for")
        measured, notes = _admitted({task: told[task] for task in asked}, counts)
        vector = messages.vector_of(reply) if TRAIN in asked else None
    except UpdateRefused:
        raise
    except Exception as error:  # every byte is the sender's choice, and so is what goes wrong
        words = safe_line(shortened(f"{type(error).__name__}: {error}", MAX_LOGGED_CHARACTERS))
        raise UpdateRefused(f"{name} sent no report of its tasks: {words}") from error
    if vector is None:
        return Report(name, measured, None, notes)
    clips = int(measured[TRAIN][CLIPS])
    require_usable(name, clips, vector, size)
    # Flower's strategies refuse all replies if one of them has another form than the rest.
    reply.content = messages.report(name, {TRAIN: {CLIPS: clips}}, vector)
    return Report(name, measured, reply, notes)


def _admitted(
    told: Mapping[str, Metrics], counts: Counts
) -> tuple[dict[str, Metrics], list[tuple[str, str]]]:
    """Return the metrics of each task that keep to the schema and the budget, and notes on the others."""
    measured, notes, room = {}, [], MAX_RECORDS
    for task, sent in told.items():
        metrics, left_out = admit(task, sent, room)
        room -= count_records(metrics)
        if left_out:
            notes.append(("ignored", f"{task}: {left_out}"))
        if CLIPS not in metrics or metrics[CLIPS].ndim or metrics[CLIPS] < 0:
            metrics[CLIPS] = np.asarray(0.0)
        notes += [("capped", claim) for claim in cap(task, metrics, counts)]
        measured[task] = metrics
    return measured, notes
