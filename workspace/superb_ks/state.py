"""An experiment's state on the director's disk: the last and the best model, the log of records, a manifest.

The aggregator keeps no model in memory between rounds: it reads the parts that collaborators ask for from the
file. The same files are what a viewer attaches to and what an interrupted experiment resumes from.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from superb_ks.averaging import Vector
from superb_ks.wire import PART_BYTES, TRAINED, count_parts

MANIFEST, RECORDS = "manifest.json", "records.jsonl"
# Updates of the current round, for strategies that need all of them at once; worthless after a crash.
UPDATES = "updates"


class ModelFile:
    """A packed model, or another vector of its size, in a safetensors file, read part by part.

    Args:
        path: the file.
        tensor: name of the vector in the file.

    Raises:
        ValueError: not a safetensors file with a float32 vector of that name.
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

    def part(self, number: int) -> bytes:
        """Read part ``number`` (from 0), at most ``PART_BYTES`` bytes.

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
        """Add the model to ``vector``, float32 ``[size]``, in place and part by part."""
        step = PART_BYTES // 4
        for number in range(count_parts(self.size)):
            vector[number * step : (number + 1) * step] += np.frombuffer(self.part(number), np.float32)

    def read(self) -> Vector:
        """Read the whole vector, float32 ``[size]``."""
        return np.fromfile(self.path, np.float32, self.size, offset=self._data_starts)


def write_model(path: Path, vector: Vector, metadata: dict[str, str]) -> str:
    """Publish ``vector`` at ``path`` atomically; returns the SHA-256 of its bytes.

    The safetensors library would copy the model to write it; its format is a length, a JSON header and the
    bytes.
    """
    header = safetensors_header([TRAINED], vector.size, metadata)
    raw = vector.data.cast("B")
    # Hashing takes longer than writing, and both let the other one run.
    with ThreadPoolExecutor(1) as beside, replacing(path) as file:
        digest = beside.submit(lambda: hashlib.sha256(raw).hexdigest())
        file.write(header)
        file.write(raw)
        return digest.result()


def safetensors_header(tensors: list[str], size: int, metadata: dict[str, str]) -> bytes:
    """Return what precedes the bytes of float32 vectors, ``[size]`` each, one after another in a file."""
    entries = {
        name: {"dtype": "F32", "shape": [size], "data_offsets": [4 * size * at, 4 * size * (at + 1)]}
        for at, name in enumerate(tensors)
    }
    header = json.dumps({"__metadata__": metadata, **entries}).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header


class replacing:  # noqa: N801 (reads as a verb: `with replacing(path) as file`)
    """Write beside ``path`` and put the result in its place only if nothing went wrong."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.partial")

    def __enter__(self) -> BinaryIO:
        self._file = self._temporary.open("wb")
        return self._file

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        try:
            self._file.close()
            if kind is None:
                os.replace(self._temporary, self._path)
        finally:
            self._temporary.unlink(missing_ok=True)


class ExperimentState:
    """The folder of one experiment on the director.

    ``round-3.safetensors`` is the model that round 3 starts from. The manifest names the files that count;
    a new round counts from the moment that the manifest is replaced, so a crash leaves either the old round
    or the new one.

    Args:
        folder: holds a manifest and the models that it names; the director makes it with the initial model.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
        self.last = ModelFile(folder / self.manifest["last"])
        self._records = self._reopened_log()
        shutil.rmtree(self.updates_folder, ignore_errors=True)

    @property
    def updates_folder(self) -> Path:
        """Where updates of the current round may wait for the others; made and removed by who needs it."""
        return self.folder / UPDATES

    @property
    def best(self) -> ModelFile:
        """The best model so far; before any validation, the last one."""
        return ModelFile(self.folder / (self.manifest["best"] or self.manifest["last"]))

    def records(self) -> list[dict[str, Any]]:
        """Return the records of the rounds that are complete: those that a resumed experiment keeps."""
        path = self.folder / RECORDS
        lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
        # A power cut may tear the last line.
        records = [json.loads(line) for line in lines if line.endswith("\n")]
        return [record for record in records if record["round"] < self.manifest["round"]]

    def append(self, records: list[dict[str, Any]]) -> None:
        """Add ``records`` to the log, one JSON object a line.

        Raises:
            OSError: the disk is full; nothing was added.
        """
        lines = "".join(json.dumps(record) + "\n" for record in records).encode()
        end = self._records.seek(0, os.SEEK_END)
        if self._records.write(lines) != len(lines):
            self._records.truncate(end)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def mark_best(self, score: float) -> None:
        """Let the model that the current round started from be the best; counts from the next publication."""
        manifest = self.manifest
        manifest.update(best=manifest["last"], best_round=manifest["round"], best_score=score)
        manifest["digests"]["best"] = manifest["digests"].get("last")

    def moments(self, strategy: str) -> Path | None:
        """Return the file of the moments that ``strategy``'s optimizer has arrived at; None at its start."""
        entry = self.manifest.get("moments")
        return self.folder / entry["file"] if entry and entry["strategy"] == strategy else None

    def mark_moments(self, strategy: str, file: Path | None) -> None:
        """Let ``file`` be the moments of ``strategy``, or drop them; counts from the next publication."""
        self.manifest["moments"] = file and {"strategy": strategy, "file": file.name}

    def publish(self, next_round: int, model: Vector | None) -> None:
        """Complete the current round; the next one starts from ``model``, or from the same if None."""
        if model is not None:
            name = f"round-{next_round}.safetensors"
            digest = write_model(self.folder / name, model, {"round": str(next_round)})
            self.manifest["last"] = name
            self.manifest["digests"]["last"] = digest
        self.manifest["round"] = next_round
        write_manifest(self.folder, self.manifest)
        self.last = ModelFile(self.folder / self.manifest["last"])
        moments = self.manifest.get("moments") or {}
        kept = (self.manifest["last"], self.manifest["best"], moments.get("file"))
        for file in self.folder.glob("round-*.safetensors"):
            if file.name not in kept:
                file.unlink()

    def close(self) -> None:
        """Close the log."""
        self._records.close()

    def _reopened_log(self) -> Any:
        """Open the log for appending, without what an interrupted round left in it."""
        kept = self.records()
        with replacing(self.folder / RECORDS) as file:
            file.write("".join(json.dumps(record) + "\n" for record in kept).encode())
        # Without a buffer a failed write is over when it has failed, and not tried again at the end.
        return (self.folder / RECORDS).open("ab", buffering=0)


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Replace the manifest of ``folder`` atomically."""
    with replacing(folder / MANIFEST) as file:
        file.write(json.dumps(manifest, indent=1).encode())
