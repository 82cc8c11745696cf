"""What a client does: load the weights, add a constant or return one number."""

from typing import cast

import torch  # also turns records into tensors, which they do only where it was imported
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from transport_app.transport_job import EventLog, empty_model, evaluate, train_step

app = ClientApp()


def _loaded(message: Message, context: Context) -> tuple[torch.nn.Module, int, EventLog]:
    """Return the model with the weights that came, the round from 0, and the event log."""
    model = empty_model(str(context.run_config["size"]))
    model.load_state_dict(cast(ArrayRecord, message.content["arrays"]).to_torch_state_dict())
    number = int(cast(int, message.content["config"]["server-round"])) - 1
    return model, number, EventLog(str(context.run_config["events"]))


@app.train()
def train(message: Message, context: Context) -> Message:
    """Add a constant to every weight."""
    model, number, log = _loaded(message, context)
    log.note("train", round=number)
    train_step(model)
    metrics = MetricRecord({"num-examples": 1})
    content = RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics})
    return Message(content=content, reply_to=message)


@app.evaluate()
def score(message: Message, context: Context) -> Message:
    """Return one number."""
    model, number, log = _loaded(message, context)
    value = evaluate(model)
    log.note("evaluate", round=number, value=value)
    metrics = MetricRecord({"accuracy": value, "num-examples": 1})
    return Message(content=RecordDict({"metrics": metrics}), reply_to=message)
