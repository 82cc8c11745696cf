"""The fast encoding of weights is OpenFL's protobuf: each side understands the other."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openfl.protocols import aggregator_pb2, base_pb2

from superb_ks.transport import codec

DATA = st.binary(max_size=400)


@given(DATA)
def test_chunk_is_a_data_stream_message(data: bytes) -> None:
    message = base_pb2.DataStream.FromString(codec.encode_chunk(data))
    assert message.npbytes == data
    assert message.size == len(data)


@given(DATA)
def test_data_stream_message_is_a_chunk(data: bytes) -> None:
    message = base_pb2.DataStream(npbytes=data, size=len(data))
    assert codec.decode_chunk(message.SerializeToString()).npbytes == data


@given(DATA, st.text(max_size=20), st.integers(0, 1000))
def test_tensor_reply_is_a_message_with_data(data: bytes, name: str, round_number: int) -> None:
    reply = aggregator_pb2.GetAggregatedTensorResponse(
        header=aggregator_pb2.MessageHeader(sender="aggregator", receiver=name),
        round_number=round_number,
        tensor=base_pb2.NamedTensor(name=name, tags=("model",)),
    )
    raw = codec.encode_tensor_reply((reply, data))
    message = aggregator_pb2.GetAggregatedTensorResponse.FromString(raw)
    assert message.tensor.data_bytes == data
    assert (message.tensor.name, message.round_number, message.header.receiver) == (name, round_number, name)
    assert codec.decode_tensor_reply(raw) == data


@given(DATA)
def test_tensor_reply_of_the_library_is_understood(data: bytes) -> None:
    reply = aggregator_pb2.GetAggregatedTensorResponse(
        round_number=3, tensor=base_pb2.NamedTensor(name="trained/0", data_bytes=data)
    )
    assert codec.decode_tensor_reply(reply.SerializeToString()) == data


def test_large_tensor_arrives_whole() -> None:
    vector = np.random.default_rng(0).standard_normal(300_000, dtype=np.float32)
    raw = codec.encode_tensor_reply((aggregator_pb2.GetAggregatedTensorResponse(), vector.tobytes()))
    np.testing.assert_array_equal(np.frombuffer(codec.decode_tensor_reply(raw), np.float32), vector)


@given(st.binary(max_size=60))
def test_garbage_raises_value_error_or_decodes(raw: bytes) -> None:
    for decode in (codec.decode_chunk, codec.decode_tensor_reply):
        with contextlib.suppress(ValueError):
            decode(raw)


@pytest.mark.parametrize("raw", [b"\x80", b"\x12\x05abc", b"\x0d\x01\x02\x03\x04"])
def test_broken_messages_are_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match="breaks off|longer than|wire type"):
        codec.decode_chunk(raw)
