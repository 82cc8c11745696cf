"""Reads what was written for TensorBoard and for W&B back, by the formats of their files."""

from __future__ import annotations

import importlib
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tensorboardX.proto.event_pb2 import Event

_BLOCK, _HEADER = 32768, 7


def tensorboard_events(folder: Path) -> Iterator[Event]:
    """Yield the events of the one file below `folder`: length, checksum, event, checksum."""
    (path,) = folder.rglob("events.out.tfevents.*")
    data = path.read_bytes()
    start = 0
    while start + 12 <= len(data):
        (size,) = struct.unpack_from("<Q", data, start)
        if start + 16 + size > len(data):
            return  # is being written
        yield Event.FromString(data[start + 12 : start + 12 + size])
        start += 16 + size


def tensorboard_scalars(folder: Path) -> dict[str, dict[int, float]]:
    """Return the numbers by name and step."""
    found: dict[str, dict[int, float]] = {}
    for event in tensorboard_events(folder):
        for value in event.summary.value:
            if value.WhichOneof("value") == "simple_value":
                found.setdefault(value.tag, {})[event.step] = value.simple_value
    return found


def tensorboard_texts(folder: Path) -> list[tuple[str, int, str]]:
    """Return the texts as name, step and text."""
    return [
        (value.tag.removesuffix("/text_summary"), event.step, value.tensor.string_val[0].decode())
        for event in tensorboard_events(folder)
        for value in event.summary.value
        if value.WhichOneof("value") == "tensor"
    ]


def wandb_records(folder: Path) -> Iterator[Any]:
    """Yield the records of the one offline run below `folder`: a log as LevelDB's, in blocks of 32 KiB."""
    Record: Any = importlib.import_module("wandb.proto.wandb_internal_pb2").Record  # noqa: N806

    (path,) = folder.rglob("run-*.wandb")
    data, start, parts = path.read_bytes(), _HEADER, b""
    while start + _HEADER <= len(data):
        if _BLOCK - start % _BLOCK < _HEADER:
            start += _BLOCK - start % _BLOCK
            continue
        _, size, kind = struct.unpack_from("<IHB", data, start)
        parts += data[start + _HEADER : start + _HEADER + size]
        start += _HEADER + size
        if kind in (1, 4):  # a whole record, or the last part of one
            yield Record.FromString(parts)
            parts = b""


def wandb_history(folder: Path) -> dict[str, dict[int, float]]:
    """Return the logged numbers by name and round."""
    found: dict[str, dict[int, float]] = {}
    for record in wandb_records(folder):
        row = {
            item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item
        }
        for name, value in row.items():
            if name != "round" and not name.startswith("_"):
                found.setdefault(name, {})[row["round"]] = value
    return found


def wandb_values(folder: Path, kind: str) -> dict[str, Any]:
    """Return the last values of the run's "summary" or "config"."""
    found: dict[str, Any] = {}
    for record in wandb_records(folder):
        for part in (getattr(record, kind), getattr(record.run, kind)):
            for item in part.update:
                found[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
    return found
