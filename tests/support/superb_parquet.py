"""Parquet files in the schema of SUPERB KS on the hub, swapped classes and all."""

import io
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow
import pyarrow.parquet
import soundfile

from superb_node.labels import KEYWORDS

# As s3prl orders them: the last two swapped against SUPERB's list.
NAMES = [*KEYWORDS, "_unknown_", "_silence_"]

Row = tuple[str, str, float]  # file, class, seconds


def clip_bytes(number: int, seconds: float) -> bytes:
    buffer = io.BytesIO()
    samples = np.random.default_rng(number).uniform(-0.5, 0.5, round(16_000 * seconds))
    soundfile.write(buffer, samples, 16_000, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def write_split(path: Path, rows: list[Row], names: list[str] | None = NAMES) -> None:
    columns = {
        "file": [file for file, _, _ in rows],
        "audio": [{"bytes": clip_bytes(n, seconds), "path": None} for n, (_, _, seconds) in enumerate(rows)],
        "label": [names.index(label) if names else label for _, label, _ in rows],
    }
    write_parquet(path, columns, names)


def write_parquet(path: Path, columns: dict[str, list], names: list[str] | None = NAMES, **how: Any) -> None:
    """Write columns with the hub's own description of them in the file's metadata.

    Args:
        path: of the file; its folder is made.
        columns: by name.
        names: of the classes that labels are ids of; None: labels are names.
        how: whatever else `pyarrow.parquet.write_table` takes.
    """
    features = {
        "file": datasets.Value("string"),
        "audio": datasets.Audio(sampling_rate=16_000),
        "label": datasets.ClassLabel(names=names) if names else datasets.Value("string"),
    }
    schema = datasets.Features({name: features[name] for name in columns}).arrow_schema
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pydict(columns, schema=schema), path, **how)


def spoken(speakers: tuple[str, ...]) -> list[Row]:
    return [
        (f"/extracted/{word}/{speaker}_nohash_0.wav", word if word in KEYWORDS else "_unknown_", 0.5)
        for word in (*KEYWORDS, "bed")
        for speaker in speakers
    ]


def write_data_set(folder: Path, recording_seconds: float = 12.0) -> Path:
    """Write the three splits as `ks/SPLIT/0000.parquet`, two background recordings included.

    Returns:
        The folder.
    """
    long = [
        (f"/extracted/_background_noise_/{name}.wav", "_silence_", recording_seconds)
        for name in ("tap", "bike")
    ]
    write_split(folder / "ks" / "train" / "0000.parquet", [*spoken(("0000000a", "0000000b")), *long])
    write_split(folder / "ks" / "validation" / "0000.parquet", spoken(("0000000c",)))
    test = [*spoken(("0000000d",)), ("/extracted/_silence_/1.wav", "_silence_", 1.0)]
    write_split(folder / "ks" / "test" / "0000.parquet", test)
    return folder
