"""Hypothesis strategies that damage good messages and experiments, and what runs them from a seed."""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Callable
from typing import Any

import hypothesis
from google.protobuf.descriptor import FieldDescriptor as Field
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

Strategy = st.SearchStrategy[Any]
Draw = Callable[[Strategy], Any]

# A service is not given longer messages: gRPC refuses them.
MAX_LIST_BYTES = 32 * 2**20
NUMBERS = [0, 1, -1, 2, 63, 64, 255, 2**16, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1, -(2**63), 2**64 - 1]
TEXTS = [
    "../../x", "", " ", "a", "model/best", "model/last", "trained/0", "trained/\u00b2",
    "trained/" + "9" * 5000, "/etc/passwd", "a\0b", "\ud7ff\U0001f4a9", "metric", "train", "validate",
    "x" * 300, "y" * 100_000,
]  # fmt: skip
RANGES = {
    Field.CPPTYPE_INT32: (-(2**31), 2**31 - 1), Field.CPPTYPE_UINT32: (0, 2**32 - 1),
    Field.CPPTYPE_INT64: (-(2**63), 2**63 - 1), Field.CPPTYPE_UINT64: (0, 2**64 - 1),
    Field.CPPTYPE_ENUM: (0, 3),
}  # fmt: skip


def try_examples(strategy: Strategy, body: Callable[[Any], None], count: int, seed: str) -> None:
    """Call `body` with about `count` examples, the same ones for the same seed; a failing one is shrunk.

    Raises:
        Exception: what `body` raised, with the example in its notes.
    """
    options = settings(
        max_examples=count,
        phases=[Phase.generate, Phase.shrink],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    hypothesis.seed(seed)(options(given(strategy)(lambda example: body(example))))()


def one_in(draw: Draw, count: int) -> bool:
    """Return true once in `count` times."""
    return bool(draw(st.integers(1, count)) == count)


def random_bytes(least: int, most: int) -> Strategy:
    """Bytes of all lengths alike; of itself hypothesis prefers the short ones."""
    return st.integers(least, most).flatmap(lambda size: st.binary(min_size=size, max_size=size))


@st.composite
def damaged(draw: Draw, data: bytes) -> bytes:
    """`data` with flipped bits, or cut, or with a piece put in, doubled, taken out or overwritten."""
    if data and one_in(draw, 3):
        bits = int.from_bytes(data, "little")
        for _ in range(draw(st.sampled_from((1, 2, 8)))):
            bits ^= 1 << draw(st.integers(0, 8 * len(data) - 1))
        return bits.to_bytes(len(data), "little")
    at = draw(st.integers(0, len(data)))
    numbers = st.sampled_from(NUMBERS).map(lambda number: struct.pack("<I", number % 2**32))
    again = st.integers(1, 63).map(lambda size: data[at : at + size])
    piece = draw(st.just(b"") | numbers | again | random_bytes(1, 15) | random_bytes(16, 200))
    removed = draw(st.sampled_from((len(data), 1, 7, *((0, len(piece)) if piece else ()))))
    return data[:at] + piece + data[at + removed :]


@st.composite
def damaged_message(draw: Draw, message: Any) -> bytes:
    """The bytes of a protobuf message, changed in up to three fields, and then often as bytes."""
    changed = type(message).FromString(message.SerializeToString())
    for _ in range(draw(st.integers(0, 3))):
        _change_field(draw, changed)
    data: bytes = changed.SerializeToString()
    return draw(damaged(data)) if one_in(draw, 4) else data


def _change_field(draw: Draw, message: Any) -> None:
    fields = message.DESCRIPTOR.fields
    if not fields:
        return
    field = fields[draw(st.integers(0, len(fields) - 1))]
    value = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return
    if hasattr(value, "extend"):  # a repeated field; each generation of protobuf has its own flag for it
        values = copy.deepcopy(list(value))
        start = draw(st.integers(0, len(values)))
        stop = draw(st.integers(start, len(values)))
        old = values[start] if start < stop else field.message_type and field.message_type._concrete_class()
        new = _changed(draw, field, old)
        size = new.ByteSize() if field.message_type is not None else len(str(new))
        count = min(draw(st.sampled_from((1, 0, 2, 70, 2000))), MAX_LIST_BYTES // (size or 1))
        values[start:stop] = [new] * count
        message.ClearField(field.name)
        getattr(message, field.name).extend(values)
    elif field.message_type is None:
        setattr(message, field.name, _changed(draw, field, value))
    elif one_in(draw, 7):
        message.ClearField(field.name)
    else:
        _change_field(draw, value)


def _changed(draw: Draw, field: Any, value: Any) -> Any:
    if field.message_type is not None:
        _change_field(draw, value)
        return value
    if field.cpp_type in RANGES:
        low, high = RANGES[field.cpp_type]
        fitting = [number for number in NUMBERS if low <= number <= high]
        return draw(st.sampled_from(fitting) | st.integers(low, high))
    if field.type == Field.TYPE_STRING:
        return draw(st.sampled_from(TEXTS) | st.text(max_size=9))
    if field.type == Field.TYPE_BYTES:
        return bytes(700_000) if one_in(draw, 4) else draw(damaged(value or b""))
    if field.type == Field.TYPE_BOOL:
        return not value
    return draw(st.sampled_from((0.0, -1.0, 1e38, float("nan"), float("inf"))) | st.floats(width=32))


WORDS = ["settings", "model", "tasks", "arguments", "shard", "package", "name", "__class__", "extra"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(TEXTS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def damaged_experiment(draw: Draw, text: bytes) -> bytes:
    """An experiment's text with other values, at any depth; then often as bytes."""
    changed = json.loads(text)
    for _ in range(draw(st.integers(0, 2))):
        inner = changed
        while True:
            key = draw(st.sampled_from([*inner, "extra"]))
            if not isinstance(inner.get(key), dict) or not inner[key] or one_in(draw, 3):
                break
            inner = inner[key]
        inner[key] = draw(VALUES)
    data = json.dumps(changed, ensure_ascii=one_in(draw, 2)).encode("utf-8", "surrogatepass")
    return draw(damaged(data)) if one_in(draw, 3) else data
