"""Makes bad messages and archives of good ones: fields of absurd values, then bits, pieces and lengths."""

from __future__ import annotations

import io
import random
import struct
import zipfile
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

NUMBERS = (0, 1, -1, 2, 63, 64, 255, 2**16, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1, -(2**63))
TEXTS = tuple(
    ["", " ", "a", "model/best", "model/last", "trained/0", "trained/\u00b2", "trained/" + "9" * 5000]
    + [
        "../../x",
        "/etc/passwd",
        "a\0b",
        "\ud7ff\U0001f4a9",
        "metric",
        "train",
        "validate",
        "x" * 300,
        "y" * 100_000,
    ]
)
PATHS = tuple(
    ["../outside", "/outside", "a/../../outside", "C:\\outside", "..\\outside", "a\0b", "", ".", "..", "./x"]
    + [".hidden", "-rf", "x" * 300, "a/" * 60 + "b", "plan/plan.yaml", "superb_ks/__init__.py", "A", "a/"]
)
_SIGNED = (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64)
_BITS = {
    FieldDescriptor.CPPTYPE_INT32: 32, FieldDescriptor.CPPTYPE_UINT32: 32,
    FieldDescriptor.CPPTYPE_INT64: 64, FieldDescriptor.CPPTYPE_UINT64: 64,
}  # fmt: skip


class Mutator:
    """Changes what it is given, from a seed.

    Args:
        draw: where chance comes from.
    """

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw

    def raw(self, data: bytes) -> bytes:
        """Return `data` with flipped bits, cut, doubled, overwritten, or replaced by random bytes."""
        changed = bytearray(data)
        kind = self.draw.randrange(7)
        at = self.draw.randrange(len(changed) + 1)
        if kind == 0 and changed:
            for _ in range(self.draw.choice((1, 1, 2, 8))):
                changed[self.draw.randrange(len(changed))] ^= 1 << self.draw.randrange(8)
        elif kind == 1:
            del changed[at:]
        elif kind == 2:
            del changed[at : at + self.draw.randrange(1, 16)]
        elif kind == 3:
            changed[at:at] = self.draw.randbytes(self.draw.randrange(1, 16))
        elif kind == 4:
            changed[at:at] = changed[at : at + self.draw.randrange(1, 64)]
        elif kind == 5:
            changed[at : at + 4] = struct.pack("<I", self.draw.choice(NUMBERS) & 0xFFFFFFFF)
        else:
            return self.draw.randbytes(self.draw.randrange(200))
        return bytes(changed)

    def message(self, message: Any) -> bytes:
        """Return the bytes of `message`, changed in up to three fields, and then often as bytes."""
        for _ in range(self.draw.randrange(4)):
            self._field(message)
        data: bytes = message.SerializeToString()
        return self.raw(data) if self.draw.random() < 0.3 else data

    def _field(self, message: Any) -> None:
        if not message.DESCRIPTOR.fields:
            return
        field = self.draw.choice(message.DESCRIPTOR.fields)
        value = getattr(message, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            return
        if hasattr(value, "extend"):  # a repeated field; each generation of protobuf has its own flag for it
            self._repeated(message, field, value)
        elif field.message_type is not None:
            if self.draw.random() < 0.15:
                message.ClearField(field.name)
            else:
                self._field(value)
        else:
            setattr(message, field.name, self._value(field, value))

    def _repeated(self, message: Any, field: Any, values: Any) -> None:
        kind = self.draw.randrange(4)
        if kind == 0:
            message.ClearField(field.name)
        elif field.message_type is not None:
            if kind == 1 and len(values) < 1000:
                values.extend(list(values) * self.draw.choice((1, 3, 300 // (len(values) or 1))))
            else:
                self._field(self.draw.choice(values) if values else values.add())
        elif kind == 1:
            values.extend([self._value(field, None)] * self.draw.choice((1, 2, 70, 2000)))
        elif values:
            values[self.draw.randrange(len(values))] = self._value(field, None)

    def _value(self, field: Any, value: Any) -> Any:
        kind = field.cpp_type
        if kind in _BITS:
            number = self.draw.choice(NUMBERS) & (2 ** _BITS[kind] - 1)
            return number - 2 ** _BITS[kind] * (kind in _SIGNED and number >= 2 ** (_BITS[kind] - 1))
        if kind == FieldDescriptor.CPPTYPE_STRING and field.type == FieldDescriptor.TYPE_STRING:
            return self.draw.choice(TEXTS)
        if kind == FieldDescriptor.CPPTYPE_STRING:
            return self.raw(value or b"") if self.draw.random() < 0.8 else bytes(700_000)
        if kind == FieldDescriptor.CPPTYPE_BOOL:
            return not value
        if kind == FieldDescriptor.CPPTYPE_ENUM:
            return self.draw.randrange(4)
        return self.draw.choice((0.0, -1.0, 1e38, float("nan"), float("inf")))

    def archive(self, files: dict[str, bytes]) -> bytes:
        """Return a ZIP archive of `files`, under absurd names, as links, packed oddly; then as bytes."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, content in files.items():
                entry = zipfile.ZipInfo(self.draw.choice(PATHS) if self.draw.random() < 0.1 else name)
                entry.compress_type = self.draw.choice((0, *[8] * 20, 12, 14))
                entry.external_attr = self.draw.choice((0o100644,) * 40 + (0o120777, 0o060644, 0)) << 16
                big = self.draw.random() < 0.02
                archive.writestr(entry, bytes(4 * 2**20) if big else content)
        data = bytearray(buffer.getvalue())
        if self.draw.random() < 0.4:  # a field of a header, whose places are known
            signature = self.draw.choice((b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"))
            at = data.find(signature, self.draw.randrange(len(data)))
            if at >= 0:
                field = at + self.draw.randrange(4, 46)
                data[field : field + 2] = struct.pack("<H", self.draw.choice(NUMBERS) & 0xFFFF)
        return self.raw(bytes(data)) if self.draw.random() < 0.5 else bytes(data)
