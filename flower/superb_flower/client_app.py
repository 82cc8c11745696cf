"""The client: describes its shard, and runs the tasks of a round on its own clips.

Everything but the messages is what an envoy does: the shard descriptor, the tasks, the model, the metrics.
"""

from __future__ import annotations

import json
import time
from typing import Any

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from superb_flower import messages
from superb_flower.client import Client, work_of
from superb_ks.collaborator.one_task import do_task
from superb_ks.model.packing import pack, unpack

app = ClientApp()


@app.query()
def describe(message: Message, context: Context) -> Message:
    """Say who this is and what the shard holds."""
    client = Client.of(context)
    content = RecordDict({messages.CLIENT: ConfigRecord({"name": client.name, "card": client.card})})
    return Message(content, reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Do a round's tasks, the last of which is to train; the weights go back."""
    return _round(message, context)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Do a round's tasks, none of which trains; the metrics go back."""
    return _round(message, context)


def _round(message: Message, context: Context) -> Message:
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
    return Message(messages.report(client.name, measured, vector), reply_to=message)
