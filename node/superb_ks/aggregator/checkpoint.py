"""An experiment's state on the director's disk: the last and the best model, the log of records, a manifest.

The aggregator keeps no model in memory between rounds: it reads the parts that collaborators ask for from the
file. The same files are what a viewer attaches to and what an interrupted experiment resumes from.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

from superb_ks.aggregator.model_file import ModelFile, keep_as_spare, replacing, write_model
from superb_ks.types import Vector

MANIFEST, RECORDS = "manifest.json", "records.jsonl"
# A model's file that is not needed any more; the next model is written over it.
SPARE = ".spare"
# Updates of the current round, for strategies that need all of them at once; worthless after a crash.
UPDATES = "updates"


class ExperimentState:
    """The folder of one experiment on the director.

    `round-3.safetensors` is the model that round 3 starts from. The manifest names the files that count;
    a new round counts from the moment that the manifest is replaced, so a crash leaves either the old round
    or the new one; of the old one, whether the model that it started from is the best may be noted already.

    Args:
        folder: holds a manifest and the models that it names; the director makes it with the initial model.

    Raises:
        ValueError: the manifest or a model that it names holds a NaN or an infinity, or is no such file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = read_manifest(folder)
        self.last = ModelFile(folder / self.manifest["last"])
        for path in {self.last.path, self.best.path}:
            ModelFile(path).require_finite()
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
        return [each for each in read_records(self.folder) if each["round"] < self.manifest["round"]]

    def append(self, records: list[dict[str, Any]]) -> None:
        """Add `records` to the log, one JSON object a line.

        Raises:
            OSError: the disk is full; nothing was added.
        """
        lines = "".join(json.dumps(record) + "\n" for record in records).encode()
        end = self._records.seek(0, os.SEEK_END)
        if self._records.write(lines) != len(lines):
            self._records.truncate(end)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def mark_best(self, score: float) -> None:
        """Let the model that the current round started from be the best, at once.

        Call it before anything is marked that counts with the round's end only. The best model so far is
        spare now, so that the round's own can be written over it.
        """
        manifest = self.manifest
        manifest.update(best=manifest["last"], best_round=manifest["round"], best_score=score)
        manifest["digests"]["best"] = manifest["digests"].get("last")
        write_manifest(self.folder, manifest)
        self._retire()

    def moments(self, strategy: str) -> Path | None:
        """Return the file of the moments that `strategy`'s optimizer has arrived at; None at its start."""
        entry = self.manifest.get("moments")
        return self.folder / entry["file"] if entry and entry["strategy"] == strategy else None

    def mark_moments(self, strategy: str, file: Path | None) -> None:
        """Let `file` be the moments of `strategy`, or drop them; counts from the next publication."""
        self.manifest["moments"] = file and {"strategy": strategy, "file": file.name}

    def publish(self, next_round: int, model: Vector | None) -> None:
        """Complete the current round; the next one starts from `model`, or from the same if None.

        Raises:
            ValueError: `model` holds values that are not finite; the round is not completed.
            OSError: the disk is full; the same.
        """
        if model is not None:
            name = f"round-{next_round}.safetensors"
            digest = write_model(self.folder / name, model, self.folder / SPARE)
            self.manifest["last"] = name
            self.manifest["digests"]["last"] = digest
        self.manifest["round"] = next_round
        write_manifest(self.folder, self.manifest)
        self.last = ModelFile(self.folder / self.manifest["last"])
        self._retire()

    def _retire(self) -> None:
        """Make models that the manifest does not name any more spare."""
        moments = self.manifest.get("moments") or {}
        kept = (self.manifest["last"], self.manifest["best"], moments.get("file"))
        for file in self.folder.glob("round-*.safetensors"):
            if file.name not in kept:
                keep_as_spare(file, self.folder / SPARE)

    def close(self) -> None:
        """Close the log, and give back what a further round would have used."""
        self._records.close()
        (self.folder / SPARE).unlink(missing_ok=True)

    def _reopened_log(self) -> Any:
        """Open the log for appending, without what an interrupted round left in it."""
        kept = self.records()
        with replacing(self.folder / RECORDS) as file:
            file.write("".join(json.dumps(record) + "\n" for record in kept).encode())
        # Without a buffer a failed write is over when it has failed, and not tried again at the end.
        return (self.folder / RECORDS).open("ab", buffering=0)


def read_records(folder: Path) -> list[dict[str, Any]]:
    """Return all records in the log of `folder`."""
    path = folder / RECORDS
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
    # A power cut may tear the last line.
    return [json.loads(line) for line in lines if line.endswith("\n")]


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of `folder`.

    Raises:
        ValueError: it is no JSON, or holds a NaN or an infinity, which JSON does not know and Python reads.
    """

    def refuse(constant: str) -> float:
        raise ValueError(f"{constant} is no number")

    try:
        text = (folder / MANIFEST).read_text(encoding="utf-8")
        manifest: dict[str, Any] = json.loads(text, parse_constant=refuse)
    except ValueError as error:
        raise ValueError(f"{MANIFEST} cannot be read: {error}") from error
    return manifest


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Replace the manifest of `folder` atomically."""
    with replacing(folder / MANIFEST) as file:
        file.write(json.dumps(manifest, indent=1, allow_nan=False).encode())
