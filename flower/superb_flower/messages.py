"""What server and clients say to one another, in Flower's records.

A request holds the model as one vector, and the reply of a client that trained holds its own. The metrics of
all tasks travel as JSON: a `MetricRecord` takes no matrix, and Flower's strategies want the same numbers of
everybody. They find in it how many clips an update weighs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from superb_ks.metrics import CLIPS, Metrics
from superb_ks.schedule import TRAIN
from superb_ks.types import Vector
from superb_node.shard_card import read_card

ARRAYS, CONFIG, METRICS, CLIENT = "arrays", "config", "metrics", "client"
"""Names of the records: the first three are those of Flower's strategies."""

WEIGHTS = "weights"
MAX_REPORT_CHARACTERS = 2**20
"""Of a client's report: several times what the records of a round that are taken need."""


def request(vector: Vector, config: dict[str, Any]) -> RecordDict:
    """Return the content of a message to a client: a model, float32 `[size]`, and what to do with it."""
    return RecordDict({ARRAYS: arrays_of(vector), CONFIG: ConfigRecord(config)})


def arrays_of(vector: Vector) -> ArrayRecord:
    """Return a model as Flower's strategies know it."""
    return ArrayRecord({WEIGHTS: Array(vector)})


def vector_of(message: Message) -> Vector:
    """Return the model of a message: float32 `[size]`, writable.

    Raises:
        ValueError: there is another array, or one of another kind.
    """
    return vector_in(cast(ArrayRecord, message.content[ARRAYS]))


def vector_in(arrays: ArrayRecord) -> Vector:
    """Return the model that an `ArrayRecord` holds, as `vector_of` does."""
    array = arrays.get(WEIGHTS)
    if (
        array is None
        or len(arrays) != 1
        or array.dtype not in ("float32", "float64")
        or len(array.shape) != 1
    ):
        raise ValueError(f"a model is one vector of floats named {WEIGHTS!r}, not {list(arrays)[:3]}")
    return np.array(array.numpy(), np.float32)


def clips_of(message: Message) -> int:
    """Return how many clips a client trained on."""
    return int(cast(int, cast(MetricRecord, message.content[METRICS])[CLIPS]))


def config_of(message: Message) -> Mapping[str, Any]:
    """Return what a message asks for."""
    return cast(ConfigRecord, message.content[CONFIG])


def _client_in(message: Message) -> Mapping[str, Any]:
    return cast(ConfigRecord, message.content[CLIENT])


def report(name: str, measured: Mapping[str, Mapping[str, Any]], vector: Vector | None) -> RecordDict:
    """Return the content of a client's reply.

    Args:
        name: the client's.
        measured: the metrics of each task, by its name.
        vector: the weights that it arrived at, if it trained.
    """
    plain = {
        task: {metric: np.asarray(value, np.float64).tolist() for metric, value in metrics.items()}
        for task, metrics in measured.items()
    }
    content = RecordDict({CLIENT: ConfigRecord({"name": name, "report": json.dumps(plain)})})
    if vector is not None:
        content[ARRAYS] = arrays_of(vector)
        content[METRICS] = MetricRecord({CLIPS: int(measured[TRAIN][CLIPS])})
    return content


def fault(line: str) -> RecordDict:
    """Return the content of the reply of a client that failed at what it was asked: why, in a line."""
    return RecordDict({CLIENT: ConfigRecord({"fault": line})})


def fault_in(message: Message) -> str:
    """Return why a client failed at what it was asked; empty if it did not."""
    client = message.content.get(CLIENT)
    return str(client.get("fault", "")) if isinstance(client, ConfigRecord) else ""


def metrics_of(message: Message) -> dict[str, Metrics]:
    """Return the metrics of each task that a client reported.

    Raises:
        Exception: it sent something else; of what kind, is as the sender likes.
    """
    told = str(_client_in(message)["report"])
    if len(told) > MAX_REPORT_CHARACTERS:
        raise ValueError(f"a report of {len(told):,} characters; legal: up to {MAX_REPORT_CHARACTERS:,}")
    measured = json.loads(told)
    return {
        str(task): {str(metric): np.asarray(value, np.float64) for metric, value in metrics.items()}
        for task, metrics in measured.items()
    }


def card_of(message: Message) -> tuple[str, dict[str, Any]]:
    """Return name and shard card that a client described itself by.

    Raises:
        KeyError, NoCard: it sent something else.
    """
    client = _client_in(message)
    return str(client["name"]), read_card(str(client["card"]), trains=False)


def name_of(message: Message) -> str:
    """Return the name of the client that sent a reply."""
    return str(_client_in(message)["name"])
