"""OpenFL's protobuf messages, filled in our way: one tensor a model, float64 metrics of any shape."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from openfl.protocols import base_pb2

#: Name of the one tensor that a model consists of on the wire (see :mod:`superb_ks.packing`).
TRAINED = "trained"
#: Tags that say which of the aggregator's models a collaborator asks for.
CURRENT, BEST = ("model",), ("best",)


def vector_message(
    vector: NDArray[np.float32], round_number: int, tags: tuple[str, ...]
) -> base_pb2.NamedTensor:
    """Wrap packed weights, float32 of shape ``[size]``, for the wire."""
    return base_pb2.NamedTensor(
        name=TRAINED, round_number=round_number, lossless=True, tags=tags, data_bytes=vector.tobytes()
    )


def read_vector(message: base_pb2.NamedTensor) -> NDArray[np.float32]:
    """Unwrap packed weights, float32 of shape ``[size]``; read-only, it lies in the message's memory.

    Raises:
        ValueError: the message does not hold whole float32 values.
    """
    if len(message.data_bytes) % 4:
        raise ValueError(f"{message.name}: {len(message.data_bytes)} bytes are not float32 values")
    return np.frombuffer(message.data_bytes, np.float32)


def metric_message(name: str, value: object, round_number: int) -> base_pb2.NamedTensor:
    """Wrap a metric, a scalar or an array, as float64 (exact for counts up to 2**53)."""
    array = np.asarray(value, np.float64)
    shape = base_pb2.MetadataProto(int_list=array.shape)
    return base_pb2.NamedTensor(
        name=name,
        round_number=round_number,
        lossless=True,
        report=True,
        tags=("metric",),
        transformer_metadata=[shape],
        data_bytes=array.tobytes(),
    )


def read_metric(message: base_pb2.NamedTensor) -> NDArray[np.float64]:
    """Unwrap a metric, float64 of the shape it was wrapped with (``()`` for a scalar)."""
    shape = tuple(message.transformer_metadata[0].int_list)
    return np.frombuffer(message.data_bytes, np.float64).reshape(shape)


def is_metric(message: base_pb2.NamedTensor) -> bool:
    """Say whether ``message`` holds a metric rather than weights."""
    return "metric" in message.tags
