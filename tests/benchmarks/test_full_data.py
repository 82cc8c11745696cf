"""The benchmark of the whole training data: its files are the folder's clips, its steps are measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.full_data import in_a_process, label_of, open_shard, size_mb, write_parquet

Folders = tuple[Path, Path]


def test_the_hubs_files_hold_what_the_folders_hold(archives: Folders, tmp_path: Path) -> None:
    write_parquet(tmp_path / "hub", *archives)
    named = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.parquet"))
    assert named[:4] == [f"hub/ks/test/000{number}.parquet" for number in range(4)]
    of_files = json.loads(open_shard("hub", str(tmp_path / "hub")).dataset_description)
    of_folders = json.loads(open_shard("folder", *map(str, archives)).dataset_description)
    for fact in ("clips", "speakers", "seconds"):
        assert of_files[fact] == of_folders[fact]


def test_a_step_runs_in_a_process_of_its_own(archives: Folders, tmp_path: Path) -> None:
    figures = in_a_process(tmp_path, "opening", "folder", *map(str, archives))
    assert figures["clips"] == len(open_shard("folder", *map(str, archives)).get_dataset("train"))
    assert figures["cpu_seconds"] > 0 and figures["memory_mb"] > 50


def test_a_step_that_fails_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="opening folder nowhere nowhere ended with 1"):
        in_a_process(tmp_path, "opening", "folder", "nowhere", "nowhere")


def test_sizes_are_those_of_copies(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(bytes(1_000_000))
    (tmp_path / "two").hardlink_to(tmp_path / "one")
    assert size_mb(tmp_path) == 2.0


@pytest.mark.parametrize(
    ("folder", "label"),
    [("yes", "yes"), ("bed", "_unknown_"), ("_background_noise_", "_silence_"), ("_silence_", "_silence_")],
)
def test_folders_have_superbs_classes(folder: str, label: str) -> None:
    assert label_of(folder) == label
