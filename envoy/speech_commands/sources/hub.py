"""SUPERB KS from the Hugging Face hub: plain parquet files, memory-mapped, decoded by soundfile.

An envoy reads the names and labels of all clips, and only the audio of its own shard. The files are
downloaded into the hub client's own cache, where later openings find them, without a network too.
"""

import glob
import os
from typing import TYPE_CHECKING

import numpy as np

from speech_commands.reader.index import speaker_of
from speech_commands.reader.silence import add_silence
from speech_commands.reader.table import ClipTable, Corpus, Split, bad_clips_error, make_table
from speech_commands.settings import HubSettings
from superb_node.audio import SAMPLE_RATE, AudioBytes
from superb_node.errors import DataError
from superb_node.labels import SILENCE, label_of
from superb_node.shard_card import SPLITS

if TYPE_CHECKING:
    from datasets import Dataset

COPY = HubSettings()
MIN_RECORDING = 5 * SAMPLE_RATE  # frames; a longer `_silence_` row is a background recording to cut from


def read_hub(hub: HubSettings, labels: tuple[str, ...], seed: int) -> Corpus:
    """Index the rows of the hub's data set; headers are read later, and only those of the shard.

    Args:
        hub: where the data set is.
        labels: class names in the order of their ids; the data set's own are matched by name.
        seed: of the silence crops.

    Raises:
        DataError: the data set cannot be loaded, or does not have the layout of SUPERB KS.
    """
    folder = os.path.expanduser(hub.id)
    if not os.path.isdir(folder):
        folder = download(hub)
    rows = {split: load_rows(hub, split, folder) for split in SPLITS}
    tables = {split: clip_table(data, split, hub.id, labels) for split, data in rows.items()}
    for split, table in tables.items():
        if not len(table):
            raise DataError(f"{hub.id}: split {split!r} is empty")

    def open_row(key: str) -> AudioBytes:
        split, row = key.split("/")
        audio = rows[split][int(row)]["audio"]
        if not audio or audio["bytes"] is None:
            raise DataError(f"{hub.id}/{key}: contains no audio bytes")
        return AudioBytes(audio["bytes"])

    recordings = None
    if SILENCE in labels:
        train = Split(tables["train"], open_row, hub.id)
        recordings, tables["train"] = cut_out_recordings(train, labels.index(SILENCE))
    if recordings is not None:
        add_silence(tables, recordings.table, labels, seed, hub.id)
    splits = {split: Split(tables[split], open_row, hub.id) for split in SPLITS}
    return Corpus(splits, recordings, folders=tuple(sorted(set(label_names(rows["train"], hub.id)))))


def download(hub: HubSettings) -> str:
    """Return the folder with the data set's files, once all of them are there.

    Raises:
        DataError: no network, or no such data set or revision.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    if hub.id.count("/") != 1:
        raise DataError(f"hub.id is {hub.id!r}: no such folder, and no NAME/NAME of the hub; {the_copy()}")
    where = f"source 'hub': {hub.id} at {hub.revision}"
    try:
        return snapshot_download(
            hub.id, repo_type="dataset", revision=hub.revision, allow_patterns=[hub.train, hub.val, hub.test]
        )
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise DataError(f"{where}: the hub has none, or not for you; {the_copy()}") from error
    except Exception as error:  # the hub client lets any error of its layers through
        raise DataError(
            f"{where} cannot be downloaded ({first_line(error)}); without a network set hub.id to a folder "
            "with the parquet files, HF_HOME to a cache, or use another source"
        ) from error


def the_copy() -> str:
    """Say which data set has SUPERB KS in the form that is read here."""
    return f"SUPERB KS as parquet files is hub: {{id: {COPY.id}, revision: {COPY.revision}}}, the default"


def first_line(error: Exception) -> str:
    """Return what an error says, in one line."""
    return str(error).strip().split("\n")[0] or type(error).__name__


def load_rows(hub: HubSettings, split: str, folder: str) -> "Dataset":
    """Load one split as memory-mapped Arrow, its audio as undecoded bytes.

    Args:
        hub: where the data set is.
        split: which one.
        folder: with the files of the data set.

    Raises:
        DataError: no such files, they are damaged, or columns are missing.
    """
    import datasets

    pattern = getattr(hub, split)
    files = sorted(glob.glob(os.path.join(glob.escape(folder), pattern)))
    if not files:
        revision = "" if os.path.isdir(os.path.expanduser(hub.id)) else f" at {hub.revision}"
        raise DataError(f"source 'hub': {pattern} of {hub.id}{revision}: no such file; {the_copy()}")
    try:
        data = datasets.load_dataset("parquet", data_files={split: files}, split=split)
    except Exception as error:  # so does the reader
        raise DataError(
            f"source 'hub': {pattern} of {hub.id} cannot be read ({first_line(error)})"
        ) from error
    missing = {"file", "audio", "label"} - set(data.column_names)
    if missing:
        raise DataError(f"{hub.id}: no column {', '.join(sorted(missing))}; SUPERB KS has file, audio, label")
    return data.cast_column("audio", datasets.Audio(decode=False))


def clip_table(data: "Dataset", split: str, name: str, labels: tuple[str, ...]) -> ClipTable:
    """Make a table of the rows whose class is used; a key is a split and a row number: `train/17`."""
    ids = [label_of(label, labels) for label in label_names(data, name)]
    rows = [row for row, label in enumerate(ids) if label is not None]
    files = data.data.column("file").to_pylist()
    return make_table(
        keys=[f"{split}/{row}" for row in rows],
        labels=[label for label in ids if label is not None],
        speakers=[speaker_of(files[row] or "") for row in rows],
    )


def label_names(data: "Dataset", name: str) -> list[str]:
    """Return the class name of each row; the data set's own list translates the ids."""
    feature, values = data.features["label"], data.data.column("label").to_pylist()
    if hasattr(feature, "int2str"):
        known = range(feature.num_classes)
        if any(value not in known for value in values):
            raise DataError(f"{name}: a label is outside the {feature.num_classes} class names")
        return [feature.names[value] for value in values]
    if all(isinstance(value, str) for value in values):
        return values
    raise DataError(f"{name}: labels are numbers without class names, so their classes are unknown")


def cut_out_recordings(split: Split, silence: int) -> tuple[Split | None, ClipTable]:
    """Separate the long background recordings, which SUPERB keeps as training rows, from the clips."""
    is_silence = split.table.labels == silence
    measured, problems = split.take(is_silence).measured()
    if problems:
        raise bad_clips_error(problems)
    # Frames at 16 kHz, whatever the recording's own rate.
    long = measured.table.frames * SAMPLE_RATE > MIN_RECORDING * measured.table.rates
    if not long.any():
        return None, split.table
    recordings = measured.take(long)
    return recordings, split.table.take(~np.isin(split.table.keys, recordings.table.keys))
