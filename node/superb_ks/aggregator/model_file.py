"""A packed model in a safetensors file: read part by part, written at once and atomically."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import struct
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from superb_ks.transport.parts import PART_BYTES, TRAINED, count_parts
from superb_ks.types import Vector


class ModelFile:
    """A packed model, or another vector of its size, in a safetensors file, read part by part.

    Args:
        path: the file.
        tensor: name of the vector in the file.

    Raises:
        ValueError: not a safetensors file with a float32 vector of that name, or not all of it.
    """

    def __init__(self, path: Path, tensor: str = TRAINED) -> None:
        self.path = path
        with path.open("rb") as file:
            try:
                (header_bytes,) = struct.unpack("<Q", file.read(8))
                entry = json.loads(file.read(header_bytes))[tensor]
                (self.size,), (starts, _) = entry["shape"], entry["data_offsets"]
            except (struct.error, ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path.name} does not hold a packed model: {error!r}") from error
        self._data_starts = 8 + header_bytes + starts
        missing = self._data_starts + 4 * self.size - path.stat().st_size
        if missing > 0:
            raise ValueError(f"{path.name} does not hold a packed model: {missing} bytes are missing")

    def part(self, number: int) -> bytes:
        """Read part `number` (from 0), at most `PART_BYTES` bytes.

        Raises:
            ValueError: there is no such part.
        """
        if not 0 <= number < count_parts(self.size):
            raise ValueError(f"no part {number}; the model has {count_parts(self.size)}")
        start = number * PART_BYTES
        length = min(PART_BYTES, 4 * self.size - start)
        with self.path.open("rb", buffering=0) as file:
            return os.pread(file.fileno(), length, self._data_starts + start)

    def add_to(self, vector: Vector) -> None:
        """Add the model to `vector`, float32 `[size]`, in place and part by part."""
        for block, values in self._blocks(vector):
            block += values

    def subtract_from(self, vector: Vector) -> None:
        """Subtract the model from `vector`, float32 `[size]`, in place and part by part."""
        for block, values in self._blocks(vector):
            block -= values

    def _blocks(self, vector: Vector) -> Iterator[tuple[Vector, Vector]]:
        """Yield views of `vector`, one after another, with the model's values at these places."""
        step = PART_BYTES // 4
        for number in range(count_parts(self.size)):
            block = vector[number * step : (number + 1) * step]
            yield block, np.frombuffer(self.part(number), np.float32)

    def require_finite(self) -> None:
        """Read all of it, part by part.

        Raises:
            ValueError: it holds values that are not finite.
        """
        for number in range(count_parts(self.size)):
            require_finite(np.frombuffer(self.part(number), np.float32), self.path.name)

    def read(self) -> Vector:
        """Read the whole vector, float32 `[size]`."""
        return np.fromfile(self.path, np.float32, self.size, offset=self._data_starts)


def write_model(path: Path, vector: Vector, spare: Path | None = None) -> str:
    """Publish `vector` at `path` atomically; returns the SHA-256 of its bytes.

    The safetensors library would copy the model to write it; its format is a length, a JSON header and the
    bytes.

    Args:
        path: the file.
        vector: float32 `[size]`.
        spare: a file that becomes this one, if there is one (see `keep_as_spare`).

    Raises:
        ValueError: `vector` holds values that are not finite; nothing was written.
    """
    require_finite(vector, path.name)
    header = safetensors_header(vector.size)
    raw = vector.data.cast("B")
    # Hashing takes longer than writing, and both let the other one run.
    with ThreadPoolExecutor(1) as hashing, replacing(path, spare) as file:
        digest = hashing.submit(lambda: hashlib.sha256(raw).hexdigest())
        file.write(header)
        file.write(raw)
        file.truncate()
        return digest.result()


def require_finite(vector: Vector, file_name: str) -> None:
    """Check what is written to a file, or was read from it.

    Raises:
        ValueError: a value is not finite.
    """
    # An array of truth values would take a quarter of the model's memory. A NaN is both least and largest.
    ends = np.min(vector, initial=0), np.max(vector, initial=0)
    if not np.isfinite(ends).all():
        raise ValueError(f"values of {file_name} are not finite (NaN or infinity)")


def safetensors_header(size: int, tensors: Iterable[str] = (TRAINED,)) -> bytes:
    """Return what precedes the bytes of float32 vectors, `[size]` each, one after another in a file."""
    entries = {
        name: {"dtype": "F32", "shape": [size], "data_offsets": [4 * size * at, 4 * size * (at + 1)]}
        for at, name in enumerate(tensors)
    }
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header


def keep_as_spare(file: Path, spare: Path) -> None:
    """Let `file`, which nobody will ask for again, become `spare`; remove it if somebody still reads it.

    The next model is written over it: the system has its memory at hand, while memory for a new file has to
    be found page by page, which takes several times as long. Without this, a warm round of 94.6 million
    weights takes 32 % longer (3.87 s in place of 2.94 s, two collaborators on two cores).
    """
    os.replace(file, spare)  # from here on nobody can open it any more
    try:
        with spare.open("r+b") as opened:
            # A write lease is granted only while nobody else has the file open (Linux); closing ends it.
            fcntl.fcntl(opened, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except (AttributeError, OSError):
        spare.unlink()


@contextmanager
def replacing(path: Path, spare: Path | None = None) -> Iterator[BinaryIO]:
    """Write next to `path`, or over `spare`, and put the result in place only if nothing went wrong.

    The spare file may be longer than what is written over it, so the caller truncates it.
    """
    temporary = path.with_name(f".{path.name}.partial")
    mode: Literal["wb", "r+b"] = "wb"
    if spare is not None and spare.exists():
        os.replace(spare, temporary)
        mode = "r+b"
    try:
        with temporary.open(mode) as file:
            yield file
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
