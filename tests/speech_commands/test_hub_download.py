"""The hub as the source: its own client, against a hub on the loopback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from superb_shard_descriptor import SuperbShardDescriptor
from tests.support.hub import SmallHub, Transfer
from tests.support.lab import wait_until
from tests.support.superb_hub import COPY, PARQUET, hub_variables, superb_hub
from tests.support.superb_parquet import write_data_set

TRAIN = "ks/train/0000.parquet"
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
    with superb_hub(folder) as hub:
        yield hub


class UntilAFileIsResumed(list[Transfer]):
    """The transfers of a hub that does not answer whoever wants the rest of a file."""

    def __init__(self) -> None:
        super().__init__()
        self.over = threading.Event()

    def append(self, transfer: Transfer) -> None:
        super().append(transfer)
        if transfer.first:
            self.over.wait(120)


def environment(url: str, home: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **hub_variables(url, home)}


def opened(url: str, home: Path, *hubs: dict[str, str], **variables: str) -> list[dict]:
    """Open a shard by each of the settings; returns its card or its error."""
    done = subprocess.run(
        [sys.executable, "-c", OPENING, json.dumps(hubs or [{}])],
        env={**environment(url, home), **variables},
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


def test_the_check_fetches_what_a_config_names(hub: SmallHub, envoy_dir: Path, tmp_path: Path) -> None:
    config = tmp_path / "envoy_config.yaml"
    config.write_text((envoy_dir / config.name).read_text().replace("source: synthetic", "source: hub"))
    done = subprocess.run(
        [sys.executable, "-m", "speech_commands.check", "--config", str(config)],
        cwd=envoy_dir,
        env=environment(hub.url, tmp_path / "home"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1, done.stderr  # each word of a speaker is the same noise in all splits
    said = done.stdout.splitlines()
    assert said[:2] == [COPY, COPY]
    assert [line.split()[1::2] for line in said if line.startswith("all ")] == [["24", "12", "12"]]
    problems = [line for line in said if line.startswith("problem: ")]
    assert len(problems) == 1 and problems[0].startswith("problem: 22 x same audio in two splits")
    assert sorted(transfer.path for transfer in hub.transfers) == sorted(FILES)


def test_a_download_that_breaks_off_is_resumed(tmp_path: Path) -> None:
    folder = write_data_set(tmp_path / "superb", recording_seconds=375.0)  # 12 MB each
    with superb_hub(folder) as hub:
        hub.cut_after = CHUNK + CHUNK // 2
        (card,) = opened(hub.url, tmp_path / "home")
    assert card["clips"]["train"]["_silence_"] == 2
    train = [transfer for transfer in hub.transfers if "train" in transfer.path]
    size = (folder / "ks" / "train" / "0000.parquet").stat().st_size
    assert [(transfer.first, transfer.sent) for transfer in train] == [
        (0, hub.cut_after), (CHUNK, size - CHUNK),
    ]  # fmt: skip


def test_after_a_killed_process_the_next_fetches_only_what_is_not_whole(tmp_path: Path) -> None:
    folder, home = write_data_set(tmp_path / "superb", recording_seconds=375.0), tmp_path / "home"
    with superb_hub(folder) as hub:
        hub.cut_after = CHUNK + CHUNK // 2
        hub.transfers = held = UntilAFileIsResumed()
        with subprocess.Popen(
            [sys.executable, "-c", OPENING, "[{}]"], env=environment(hub.url, home)
        ) as first:
            try:
                wait_until(lambda: len(whole(home)) == 2 and any(each.first for each in held), 120)
            finally:
                first.kill()
                held.over.set()
        assert first.returncode == -signal.SIGKILL
        assert whole(home) == FILES - {TRAIN}
        hub.transfers, hub.cut_after = [], None
        (card,) = opened(hub.url, home)
    assert card["clips"]["train"]["_silence_"] == 2
    assert [(each.path, each.first) for each in hub.transfers] == [(TRAIN, 0)]


def whole(home: Path) -> set[str]:
    """Return the files of the data set that a process would find there."""
    found = home.glob("hub/datasets--*/snapshots/*/ks/*/*.parquet")
    return {"/".join(path.parts[-3:]) for path in found}


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
