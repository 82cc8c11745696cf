"""OpenFL's two messages that carry weights, encoded and decoded without copying what they carry.

The protobuf library copies a message's bytes three times on the way out and twice on the way in; for 94.6
million weights and two collaborators that is most of a round. The bytes on the wire are ordinary protobuf,
which any OpenFL 1.7.1 understands: see https://protobuf.dev/programming-guides/encoding for the format.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
from openfl.protocols import aggregator_pb2, aggregator_pb2_grpc, base_pb2

from superb_ks.callers import admitted, checked
from superb_ks.guard import EXPERIMENT, GuardedService

_SERVICE = aggregator_pb2.DESCRIPTOR.services_by_name["Aggregator"].full_name
_VARINT, _BYTES = 0, 2  # wire types


@dataclass(frozen=True)
class Chunk:
    """A ``DataStream`` message as it arrives: ``npbytes`` is a view into the received bytes."""

    npbytes: memoryview


def encode_chunk(data: bytes | memoryview) -> bytes:
    """Encode a ``DataStream`` message that holds ``data``."""
    field = base_pb2.DataStream.DESCRIPTOR.fields_by_name
    size = _key(field["size"].number, _VARINT) + _varint(len(data))
    return b"".join((size, _key(field["npbytes"].number, _BYTES), _varint(len(data)), data))


def decode_chunk(raw: bytes) -> Chunk:
    """Decode a ``DataStream`` message."""
    wanted = base_pb2.DataStream.DESCRIPTOR.fields_by_name["npbytes"].number
    found = [value for number, value in _fields(memoryview(raw)) if number == wanted]
    return Chunk(found[-1] if found else memoryview(b""))


def encode_tensor_reply(reply_and_data: tuple[aggregator_pb2.GetAggregatedTensorResponse, bytes]) -> bytes:
    """Encode a ``GetAggregatedTensorResponse`` whose tensor gets ``data`` as its bytes.

    Every decoder merges a field that occurs twice: the data are appended as a second occurrence.
    """
    reply, data = reply_and_data
    inner = _key(base_pb2.NamedTensor.DESCRIPTOR.fields_by_name["data_bytes"].number, _BYTES) + _varint(
        len(data)
    )
    outer = _key(reply.DESCRIPTOR.fields_by_name["tensor"].number, _BYTES) + _varint(len(inner) + len(data))
    return b"".join((reply.SerializeToString(), outer, inner, data))


def decode_tensor_reply(raw: bytes) -> memoryview:
    """Return the tensor's bytes in a ``GetAggregatedTensorResponse``, as a view; empty if it has none."""
    tensor = aggregator_pb2.GetAggregatedTensorResponse.DESCRIPTOR.fields_by_name["tensor"].number
    data = base_pb2.NamedTensor.DESCRIPTOR.fields_by_name["data_bytes"].number
    found = memoryview(b"")
    for number, message in _fields(memoryview(raw)):
        if number == tensor:
            found = next((value for inner, value in _fields(message) if inner == data), found)
    return found


class AggregatorStub:
    """The client's methods of OpenFL's aggregator service.

    ``GetTasks`` takes and returns OpenFL's messages; ``GetAggregatedTensor`` yields the bytes of a model part
    by part; ``SendLocalTaskResults`` takes the chunks' bytes.

    Args:
        channel: to the aggregator.
        experiment_id: shown with each call (see :mod:`superb_ks.guard`).
    """

    def __init__(self, channel: grpc.Channel, experiment_id: str) -> None:
        self._headers = ((EXPERIMENT, experiment_id.encode()),)
        self.GetTasks = self._showing_id(aggregator_pb2_grpc.AggregatorStub(channel).GetTasks)
        self.GetAggregatedTensor = self._showing_id(
            channel.unary_stream(
                f"/{_SERVICE}/GetAggregatedTensor",
                request_serializer=aggregator_pb2.GetAggregatedTensorRequest.SerializeToString,
                response_deserializer=decode_tensor_reply,
            )
        )
        self.SendLocalTaskResults = self._showing_id(
            channel.stream_unary(
                f"/{_SERVICE}/SendLocalTaskResults",
                request_serializer=encode_chunk,
                response_deserializer=aggregator_pb2.SendLocalTaskResultsResponse.FromString,
            )
        )

    def _showing_id(self, call: Callable[..., Any]) -> Callable[..., Any]:
        return functools.partial(call, metadata=self._headers)


def add_servicer_to_server(servicer: Any, server: grpc.Server) -> None:
    """Serve OpenFL's ``AggregatorGRPCServer``; stands in for the generated function of the same purpose."""

    def get_aggregated_tensor(request: Any, context: Any) -> Iterator[tuple[Any, bytes]]:
        # Corrects: an answer is one message, so that a large model needs many calls, each of which costs as
        # much as moving its part does. One answer is a stream of one, and here they are as many as it takes.
        reply = servicer.GetAggregatedTensor(request, context)  # checks the sender, fills the header
        tags = tuple(request.tags)
        for part in servicer.aggregator.parts(request.tensor_name, request.round_number, tags):
            yield reply, part

    def send_local_task_results(chunks: Iterable[Any], context: Any) -> Any:
        # Corrects: for whom an upload is, and of which experiment, is asked when all of it was received.
        messages = iter(chunks)
        head = next(messages, None)
        if head is None:
            raise RuntimeError("an empty upload")
        servicer.check_request(aggregator_pb2.TaskResults.FromString(bytes(head.npbytes)))
        return servicer.SendLocalTaskResults(itertools.chain((head,), messages), context)

    handlers = {
        "GetTasks": grpc.unary_unary_rpc_method_handler(
            servicer.GetTasks,
            request_deserializer=aggregator_pb2.GetTasksRequest.FromString,
            response_serializer=aggregator_pb2.GetTasksResponse.SerializeToString,
        ),
        "GetAggregatedTensor": grpc.unary_stream_rpc_method_handler(
            get_aggregated_tensor,
            request_deserializer=aggregator_pb2.GetAggregatedTensorRequest.FromString,
            response_serializer=encode_tensor_reply,
        ),
        "SendLocalTaskResults": grpc.stream_unary_rpc_method_handler(
            send_local_task_results,
            request_deserializer=decode_chunk,
            response_serializer=aggregator_pb2.SendLocalTaskResultsResponse.SerializeToString,
        ),
    }
    behind_checks = {method: checked(servicer, method, handler) for method, handler in handlers.items()}
    service = GuardedService(
        _SERVICE,
        behind_checks,
        servicer.aggregator.federation_uuid,
        functools.partial(admitted, servicer),
    )
    server.add_generic_rpc_handlers((service,))


def _key(number: int, wire_type: int) -> bytes:
    return _varint(number << 3 | wire_type)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _fields(raw: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield number and content of the length-delimited fields of a message; varints are passed over.

    Raises:
        ValueError: the bytes are no such message.
    """
    position = 0
    while position < len(raw):
        key, position = _read_varint(raw, position)
        length, position = _read_varint(raw, position)
        if key & 7 == _BYTES:
            if position + length > len(raw):
                raise ValueError("a field is longer than its message")
            yield key >> 3, raw[position : position + length]
            position += length
        elif key & 7 != _VARINT:
            raise ValueError(f"unexpected wire type {key & 7}")


def _read_varint(raw: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(raw) or shift > 63:
            raise ValueError("a number breaks off")
        byte = raw[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
