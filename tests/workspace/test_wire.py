"""Models in parts, metrics in messages, uploads in streams: what goes in comes out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from openfl.protocols import aggregator_pb2, base_pb2

from superb_ks import wire

PART = wire.PART_BYTES // 4


@pytest.mark.parametrize(
    ("size", "parts"), [(0, 1), (1, 1), (PART, 1), (PART + 1, 2), (3 * PART, 3), (3 * PART + 1, 4)]
)
def test_parts_of_a_model(size, parts):
    assert wire.count_parts(size) == parts
    pieces = list(wire.pieces(np.arange(size, dtype=np.float32)))
    assert max(map(len, pieces), default=0) <= wire.PART_BYTES
    assert sum(map(len, pieces)) == 4 * size


def test_names_of_parts():
    assert wire.part_number(wire.part_name(7)) == 7
    for name in ("trained/x", "other/1", "trained", "trained/-1"):
        with pytest.raises(ValueError, match="no tensor is named"):
            wire.part_number(name)


@given(
    arrays(np.float64, array_shapes(min_dims=0, max_dims=3, max_side=4), elements=st.floats(allow_nan=False))
)
def test_metrics_keep_shape_and_every_bit(value):
    message = base_pb2.NamedTensor.FromString(wire.metric_message("m", value, 3).SerializeToString())
    read = wire.read_metrics([message])["m"]
    assert read.shape == value.shape
    assert read.tobytes() == value.tobytes()


def test_a_damaged_metric_is_named():
    message = wire.metric_message("confusion", np.zeros((2, 2)), 0)
    message.data_bytes = message.data_bytes[:-8]
    with pytest.raises(wire.DamagedUpload, match="confusion"):
        wire.read_metrics([message])


def test_an_upload_carries_metrics_first_and_then_the_weights():
    weights = np.arange(PART + 5, dtype=np.float32)
    results = aggregator_pb2.TaskResults(task_name="train", tensors=[wire.metric_message("loss", 0.25, 1)])
    head, *chunks = wire.upload(results, weights)
    read = aggregator_pb2.TaskResults.FromString(bytes(head))
    assert wire.read_metrics(read.tensors)["loss"] == 0.25
    assert wire.announced(read.tensors) == (weights.size, wire.FLOAT32)
    assert len(chunks) == 2
    assert np.array_equal(wire.fill(np.empty_like(weights), chunks), weights)


def test_an_upload_without_weights_announces_none():
    (head,) = wire.upload(aggregator_pb2.TaskResults(), None)
    assert wire.announced(aggregator_pb2.TaskResults.FromString(bytes(head)).tensors) is None


@pytest.mark.parametrize(
    ("chunks", "reason"), [([b"1234"], "4 of the announced 8"), ([b"1234"] * 3, "more than")]
)
def test_an_upload_of_another_length_is_damaged(chunks, reason):
    with pytest.raises(wire.DamagedUpload, match=reason):
        wire.fill(np.empty(2, np.float32), chunks)
