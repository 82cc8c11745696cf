"""The director's memory of its experiments, on disk: it survives a restart, and nothing is kept in RAM.

Each experiment has a folder with a manifest, the models that the manifest names, and the log of its
records. The director makes the folder; while the experiment runs, its aggregator writes to it
(`superb_ks/aggregator/checkpoint.py`).
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import struct
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from superb_ks.aggregator.checkpoint import MANIFEST, RECORDS, read_records
from superb_ks.aggregator.model_file import safetensors_header
from superb_node.names import illegal_name, is_legal_name
from superb_node.text import quoted
from superb_node.work_folder import replace_file

logger = logging.getLogger("director")

CHUNK_BYTES = 4 * 2**20

PENDING, RUNNING, FINISHED = "pending", "in_progress", "finished"
FAILED, STOPPED, INTERRUPTED, REJECTED = "failed", "stopped", "interrupted", "rejected"
RESUMABLE = (FAILED, STOPPED, INTERRUPTED, REJECTED)


class Refused(ValueError):
    """A request that the director turns down; the message says why and what is legal."""


class ExperimentStore:
    """All experiments of a director, by name.

    Args:
        folder: holds one folder for each experiment.
    """

    def __init__(self, folder: Path) -> None:
        self.root = folder
        # What a full disk did not take, so that it can be told all the same.
        self._unwritten_changes: dict[str, dict[str, Any]] = {}
        self._unwritten_records: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        folder.mkdir(parents=True, exist_ok=True)
        for partial in folder.glob(".partial-*"):
            shutil.rmtree(partial)
        for name in self.names():
            if self.manifest(name)["status"] in (PENDING, RUNNING):
                self.update(name, status=INTERRUPTED)

    def folder(self, name: str) -> Path:
        """Return the folder of an experiment.

        Raises:
            Refused: the name is illegal.
        """
        if not is_legal_name(name):
            raise Refused(illegal_name("experiment name", name))
        return self.root / name

    def names(self) -> list[str]:
        """Return the names of all experiments, oldest first."""
        folders = [path.parent for path in self.root.glob(f"*/{MANIFEST}")]
        named = [folder.name for folder in folders if is_legal_name(folder.name)]
        return sorted(named, key=lambda name: self.manifest(name)["created"])

    def __contains__(self, name: str) -> bool:
        return (self.folder(name) / MANIFEST).is_file()

    def manifest(self, name: str) -> dict[str, Any]:
        """Return the manifest of an experiment.

        Raises:
            Refused: there is none of that name.
        """
        if name not in self:
            raise Refused(f"no experiment named {name!r}")
        # The aggregator's `read_manifest` refuses a NaN; the director reads on, to tell of that failure.
        manifest = json.loads((self.folder(name) / MANIFEST).read_text(encoding="utf-8"))
        return {**manifest, **self._unwritten_changes.get(name, {})}

    def update(self, name: str, **changes: Any) -> None:
        """Change entries of a manifest, atomically; what a full disk does not take is kept in memory."""
        manifest = {**self.manifest(name), **changes}
        try:
            _write_json(self.folder(name) / MANIFEST, manifest)
            self._unwritten_changes.pop(name, None)
        except OSError as error:
            logger.error("The manifest of %s cannot be written: %s", name, error)
            self._unwritten_changes.setdefault(name, {}).update(changes)

    async def create(
        self, name: str, owner: str, collaborators: list[str], size: int, model: AsyncIterator[bytes]
    ) -> None:
        """Make an experiment with its initial model, read from `model`; it appears when complete.

        Raises:
            Refused: the name is illegal or taken, or the model is not `size` float32 values.
        """
        if name in self:
            raise Refused(f"an experiment named {name!r} exists; choose another name, or resume it")
        partial = self.root / f".partial-{name}"
        try:
            partial.mkdir()
        except FileExistsError as error:
            raise Refused(f"an experiment named {name!r} is being submitted; choose another name") from error
        try:
            received = await _write_model(partial / "round-0.safetensors", size, model)
            if received != 4 * size:
                raise Refused(f"the model has {received} bytes, {4 * size} were announced")
            manifest = {
                "experiment": name,
                "owner": owner,
                "created": time.time(),
                "collaborators": collaborators,
                "status": PENDING,
                "round": 0,
                "last": "round-0.safetensors",
                "best": None,
                "best_round": None,
                "best_score": None,
                "digests": {},
            }
            _write_json(partial / MANIFEST, manifest)
            os.rename(partial, self.folder(name))
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def records(self, name: str) -> list[dict[str, Any]]:
        """Return everything that was recorded of an experiment."""
        return read_records(self.folder(name)) + self._unwritten_records.get(name, [])

    def append_failure(self, name: str, reason: str) -> None:
        """Add a failure to the records, unless they tell of it; one that was resumed may tell of another."""
        told = [r["metric_name"] for r in self.records(name) if r["task_name"] == "failure"]
        if not any(reason.endswith(text) for text in told):  # the aggregator's begins with who failed
            self.append(name, "failure", reason)

    def append(self, name: str, task_name: str, text: str) -> None:
        """Add a record of the director's own; what a full disk does not take is kept in memory."""
        record = self.own_record(name, task_name, text)
        try:
            with (self.folder(name) / RECORDS).open("a", encoding="utf-8") as log:
                log.write(json.dumps(record) + "\n")
        except OSError:
            self._unwritten_records[name].append(record)

    def own_record(self, name: str, task_name: str, text: str) -> dict[str, Any]:
        """Return a record of the director's own, of the round in which the experiment is."""
        return {
            "round": self.manifest(name)["round"],
            "metric_origin": "director",
            "task_name": task_name,
            "metric_name": text,
            "metric_value": 0.0,
        }

    def model(self, name: str, which: str) -> Iterator[bytes]:
        """Yield the bytes of the `best` or `last` model's vector.

        Raises:
            Refused: no such experiment, or it has no such model yet.
        """
        file_name = self.manifest(name).get(which) if which in ("best", "last") else None
        if file_name is None:
            raise Refused(f"experiment {name!r} has no {quoted(which)} model (yet); legal: 'best' and 'last'")
        with (self.folder(name) / file_name).open("rb") as file:
            (header_bytes,) = struct.unpack("<Q", file.read(8))
            file.seek(8 + header_bytes)
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

    def remove(self, name: str) -> None:
        """Delete an experiment's folder."""
        self._unwritten_changes.pop(name, None)
        self._unwritten_records.pop(name, None)
        shutil.rmtree(self.folder(name), ignore_errors=True)


async def _write_model(path: Path, size: int, chunks: AsyncIterator[bytes]) -> int:
    """Write the file of a packed model; returns the bytes received."""
    received = 0
    with path.open("wb") as file:
        file.write(safetensors_header(size))
        async for chunk in chunks:
            received += len(chunk)
            if received > 4 * size:
                break
            file.write(chunk)
    return received


def _write_json(path: Path, content: dict[str, Any]) -> None:
    replace_file(path, json.dumps(content, indent=1).encode())
