"""The hub as the source: its own client, against a hub on the loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from superb_shard_descriptor import SuperbShardDescriptor
from tests.support.hub import SmallHub, small_hub
from tests.support.superb_parquet import write_data_set

COPY, PARQUET = "s3prl/superb", "refs/convert/parquet"
FILES = {f"ks/{split}/0000.parquet" for split in ("train", "validation", "test")}
# In a process of its own: the client reads its variables when it is imported.
OPENING = """
import json, sys
from superb_node.errors import DataError
from superb_shard_descriptor import SuperbShardDescriptor
for hub in json.loads(sys.argv[1]):
    try:
        print(SuperbShardDescriptor("1, 1", "hub", hub=hub).dataset_description)
    except DataError as error:
        print(json.dumps({"error": str(error)}))
"""
CHUNK = 10 << 20
"""Bytes that the client writes at once: what of a chunk has arrived when a transfer breaks off is lost."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_data_set(tmp_path / "superb")


@pytest.fixture
def hub(folder: Path) -> Iterator[SmallHub]:
    """What the real hub has, as far as is known: a script in `main`, parquet files in another revision."""
    with small_hub() as hub:
        hub.data_sets = {COPY: {PARQUET: files_in(folder), "main": {"superb.py": b"", "README.md": b""}}}
        yield hub


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.parquet")}


def opened(url: str, home: Path, *hubs: dict[str, str], **variables: str) -> list[dict]:
    """Open a shard by each of the settings; returns its card or its error."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": url,
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "0",
        "PYTHONPATH": os.pathsep.join(sys.path),
        **variables,
    }
    done = subprocess.run(
        [sys.executable, "-c", OPENING, json.dumps(hubs or [{}])],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_what_is_downloaded_is_what_a_folder_has(hub: SmallHub, folder: Path, tmp_path: Path) -> None:
    (card,) = opened(hub.url, tmp_path / "home")
    local = SuperbShardDescriptor("1, 1", "hub", hub={"id": str(folder)}).dataset_description
    assert card == json.loads(local)
    assert sorted(transfer.path for transfer in hub.transfers) == sorted(FILES)
    assert hub.unknown == []


def test_a_download_that_breaks_off_is_resumed(tmp_path: Path) -> None:
    folder = write_data_set(tmp_path / "superb", recording_seconds=375.0)  # 12 MB each
    with small_hub() as hub:
        hub.data_sets = {COPY: {PARQUET: files_in(folder)}}
        hub.cut_after = CHUNK + CHUNK // 2
        (card,) = opened(hub.url, tmp_path / "home")
    assert card["clips"]["train"]["_silence_"] == 2
    train = [transfer for transfer in hub.transfers if "train" in transfer.path]
    size = (folder / "ks" / "train" / "0000.parquet").stat().st_size
    assert [(transfer.first, transfer.sent) for transfer in train] == [
        (0, hub.cut_after), (CHUNK, size - CHUNK),
    ]  # fmt: skip


def test_what_is_there_is_opened_without_a_network(hub: SmallHub, tmp_path: Path) -> None:
    first = opened(hub.url, tmp_path / "home")
    hub.transfers.clear()
    assert opened(hub.url, tmp_path / "home") == first
    assert hub.transfers == []
    assert opened(hub.url, tmp_path / "home", HF_HUB_OFFLINE="1") == first
    assert opened("http://127.0.0.1:9", tmp_path / "home") == first


def test_half_a_data_set_is_not_opened(hub: SmallHub, tmp_path: Path) -> None:
    (card,) = opened(hub.url, tmp_path / "home", {"train": "ks/validation/*.parquet"})
    assert "error" not in card and len(hub.transfers) == 2
    (told,) = opened(hub.url, tmp_path / "home", HF_HUB_OFFLINE="1")
    assert told["error"].startswith(f"source 'hub': {COPY} at {PARQUET} cannot be downloaded (")
    assert "incomplete" in told["error"] and "\n" not in told["error"]


def test_other_names_and_revisions_get_a_line_with_the_copy(hub: SmallHub, tmp_path: Path) -> None:
    wrong = [{"id": "superb"}, {"id": "nobody/superb"}, {"revision": "v9"}, {"revision": "main"}]
    told = [each["error"] for each in opened(hub.url, tmp_path / "home", *wrong)]
    for settings, error in zip(wrong, told, strict=True):
        assert next(iter(settings.values())) in error
        assert error.endswith(
            f"SUPERB KS as parquet files is hub: {{id: {COPY}, revision: {PARQUET}}}, the default"
        )
        assert "\n" not in error
    assert (
        "ks/train/*.parquet of s3prl/superb at main: no such file" in told[3]
    )  # scripts are neither fetched nor run
    assert hub.transfers == []


@pytest.mark.parametrize("offline", ["0", "1"])
def test_without_a_network_the_error_says_what_to_set(tmp_path: Path, offline: str) -> None:
    (told,) = opened("http://127.0.0.1:9", tmp_path / "home", HF_HUB_OFFLINE=offline)
    assert "\n" not in told["error"]
    for word in (COPY, PARQUET, "hub.id", "HF_HOME"):
        assert word in told["error"]
