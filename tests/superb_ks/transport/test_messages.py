"""Models in parts, metrics in messages, uploads in streams: what goes in comes out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from openfl.protocols import aggregator_pb2, base_pb2

from superb_ks.transport import messages
from superb_ks.transport.parts import PART_BYTES, TRAINED, count_parts, part_name, part_number

PART = PART_BYTES // 4


@pytest.mark.parametrize(
    ("size", "parts"), [(0, 1), (1, 1), (PART, 1), (PART + 1, 2), (3 * PART, 3), (3 * PART + 1, 4)]
)
def test_parts_of_a_model(size, parts):
    assert count_parts(size) == parts
    pieces = list(messages.pieces(np.arange(size, dtype=np.float32)))
    assert max(map(len, pieces), default=0) <= PART_BYTES
    assert sum(map(len, pieces)) == 4 * size


def test_names_of_parts():
    assert part_number(part_name(7)) == 7
    for name in ("trained/x", "other/1", "trained", "trained/-1"):
        with pytest.raises(ValueError, match="no tensor is named"):
            part_number(name)


@given(
    arrays(np.float64, array_shapes(min_dims=0, max_dims=3, max_side=4), elements=st.floats(allow_nan=False))
)
def test_metrics_keep_shape_and_every_bit(value):
    message = base_pb2.NamedTensor.FromString(messages.metric_message("m", value, 3).SerializeToString())
    read = messages.read_metrics([message])["m"]
    assert read.shape == value.shape
    assert read.tobytes() == value.tobytes()


def test_a_damaged_metric_is_named():
    message = messages.metric_message("confusion", np.zeros((2, 2)), 0)
    message.data_bytes = message.data_bytes[:-8]
    with pytest.raises(messages.DamagedUpload, match="confusion"):
        messages.read_metrics([message])


def test_an_upload_carries_metrics_first_and_then_the_weights():
    weights = np.arange(PART + 5, dtype=np.float32)
    results = aggregator_pb2.TaskResults(
        task_name="train", tensors=[messages.metric_message("loss", 0.25, 1)]
    )
    head, *chunks = messages.upload(results, weights)
    read = aggregator_pb2.TaskResults.FromString(bytes(head))
    assert messages.read_metrics(read.tensors)["loss"] == 0.25
    assert messages.announced_size(read.tensors) == weights.size
    assert len(chunks) == 2
    assert np.array_equal(messages.fill(np.empty_like(weights), chunks), weights)


def test_an_upload_without_weights_announces_none():
    (head,) = messages.upload(aggregator_pb2.TaskResults(), None)
    assert messages.announced_size(aggregator_pb2.TaskResults.FromString(bytes(head)).tensors) is None


@pytest.mark.parametrize(
    ("chunks", "reason"), [([b"1234"], "4 of the announced 8"), ([b"1234"] * 3, "more than")]
)
def test_an_upload_of_another_length_is_damaged(chunks, reason):
    with pytest.raises(messages.DamagedUpload, match=reason):
        messages.fill(np.empty(2, np.float32), chunks)


def test_an_announcement_of_absurd_length_is_read_in_part():
    shape = base_pb2.MetadataProto(int_list=[2**31 - 1] * 100_000)
    tensor = base_pb2.NamedTensor(name=TRAINED, transformer_metadata=[shape])
    assert messages.announced_size([tensor]) == (2**31 - 1) ** 64
