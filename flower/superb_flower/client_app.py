"""The client: describes its shard, and runs the tasks of a round on its own clips.

Everything but the messages is what an envoy does: the shard descriptor, the tasks, the model, the metrics.
"""

from __future__ import annotations

import functools
import json
import logging
import time
import traceback
from collections.abc import Callable
from typing import Any

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.logger import log

from superb_flower import messages
from superb_flower.client import Client, work_of
from superb_ks.collaborator.one_task import do_task
from superb_ks.experiment import UnsoundExperiment
from superb_ks.model.folder import ModelUnavailable
from superb_ks.model.packing import pack, unpack
from superb_ks.model.spec import ModelMismatch
from superb_node.errors import ConfigError, DataError
from superb_node.text import safe_line

Handler = Callable[[Message, Context], RecordDict]
_SAY_ALL = (ConfigError, DataError, ModelMismatch, ModelUnavailable, UnsoundExperiment)
"""Errors whose message needs no traceback."""

app = ClientApp()


def _answers(handler: Handler) -> Callable[[Message, Context], Message]:
    """Let a function's return value be the reply, and so the line that says why there is none.

    Of an error Flower tells the server what it likes: in a simulation, the stack of a worker of Ray's.
    """

    @functools.wraps(handler)
    def answer(message: Message, context: Context) -> Message:
        try:
            content = handler(message, context)
        except Exception as error:
            line = _in_a_line(error)
            log(logging.ERROR, line, exc_info=None if isinstance(error, _SAY_ALL) else error)
            content = messages.fault(line)
        return Message(content, reply_to=message)

    return answer


def _in_a_line(error: Exception) -> str:
    if isinstance(error, _SAY_ALL):
        return safe_line(str(error))
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return safe_line(f"in {frame.name}, line {frame.lineno}: {type(error).__name__}: {error}")


@app.query()
@_answers
def describe(message: Message, context: Context) -> RecordDict:
    """Say who this is and what the shard holds."""
    client = Client.of(context)
    return RecordDict({messages.CLIENT: ConfigRecord({"name": client.name, "card": client.card})})


@app.train()
@_answers
def train(message: Message, context: Context) -> RecordDict:
    """Do a round's tasks, the last of which is to train; the weights go back."""
    return _round(message, context)


@app.evaluate()
@_answers
def evaluate(message: Message, context: Context) -> RecordDict:
    """Do a round's tasks, none of which trains; the metrics go back."""
    return _round(message, context)


def _round(message: Message, context: Context) -> RecordDict:
    client = Client.of(context)
    config = messages.config_of(message)
    text = bytes(config["experiment"])
    tasks, model, spec = work_of(text)
    shard = client.clips(spec)
    unpack(messages.vector_of(message), model)
    measured: dict[str, dict[str, Any]] = {}
    trained = False
    for name, function in json.loads(str(config["tasks"])):
        started = time.monotonic()
        measured[name], trains = do_task(
            tasks,
            name,
            function,
            model=model,
            shard=shard,
            device=client.device,
            round_number=int(config["round"]),
            keep=lambda own: client.keep(context.run_id, text, own),
        )
        trained = trained or trains
        measured[name]["seconds"] = time.monotonic() - started
    vector = pack(model) if trained else None
    return messages.report(client.name, measured, vector)
