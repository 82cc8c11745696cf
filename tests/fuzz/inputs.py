"""Hypothesis strategies that damage good messages and archives, and what runs them from a seed."""

from __future__ import annotations

import copy
import io
import re
import struct
import warnings
import zipfile
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
PATHS = [
    "../outside", "/outside", "a/../../outside", "C:\\outside", "..\\outside", "a\0b", "", ".", "..", "./x",
    ".hidden", "-rf", "x" * 300, "a/" * 60 + "b", "plan/plan.yaml", "superb_ks/__init__.py", "A", "a/",
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


def archive_of(files: dict[str, bytes], changes: dict[str, dict[str, Any]] | None = None) -> bytes:
    """Return a ZIP archive of `files`, of which some have another name, content, mode or compression."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name that occurs twice is meant
        for name, content in files.items():
            change: dict[str, Any] = {"name": name, "content": content, "mode": 0o100644, "method": 8}
            change.update((changes or {}).get(name, {}))
            entry = zipfile.ZipInfo(change["name"])
            entry.compress_type, entry.external_attr = change["method"], change["mode"] << 16
            archive.writestr(entry, change["content"])
    return buffer.getvalue()


CHANGES = [
    *[{"name": path} for path in PATHS],
    {"mode": 0o120777}, {"mode": 0o060644}, {"mode": 0}, {"method": 0}, {"method": 12}, {"method": 14},
    {"content": bytes(4 * 2**20)},
]  # fmt: skip


@st.composite
def damaged_archive(draw: Draw, files: dict[str, bytes]) -> bytes:
    """A ZIP archive of `files`, under absurd names, as links, packed oddly, of lying sizes; then as bytes."""
    changed = st.dictionaries(st.sampled_from(list(files)), st.sampled_from(CHANGES), max_size=2)
    kinds = draw(st.sampled_from(("f", "h", "b", "fh", "fb", "hb", "fhb")))
    data = archive_of(files, draw(changed) if "f" in kinds else None)
    if "h" in kinds:  # a field of a header, whose places are known
        signature = draw(st.sampled_from((b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06")))
        places = [match.start() for match in re.finditer(re.escape(signature), data)]
        at = draw(st.sampled_from(places)) + draw(st.integers(4, 45))
        number = struct.pack("<Q", draw(st.sampled_from(NUMBERS)) % 2**64)[: draw(st.sampled_from((2, 4)))]
        data = data[:at] + number + data[at + len(number) :]
    return draw(damaged(data)) if "b" in kinds else data
