"""The benchmark of the whole training data: its files are the folder's clips, its steps are measured."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import full_data
from benchmarks.full_data import in_a_process, label_of, open_shard, size_mb, write_hub_files
from benchmarks.transport.result import merge
from demo.options import TEST_FOLDER

Folders = tuple[Path, Path]


def test_the_hubs_files_hold_what_the_folders_hold(archives: Folders, tmp_path: Path) -> None:
    write_hub_files(tmp_path / "hub", *archives)
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


@pytest.mark.parametrize(
    ("sample", "problem"), [("none", "no such folder"), ("alone", f"no {TEST_FOLDER} next to it")]
)
def test_a_sample_without_its_archives_is_told_before_anything_runs(
    sample: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "alone").mkdir()
    monkeypatch.setattr(sys, "argv", ["full_data", "--sample", str(tmp_path / sample)])
    with pytest.raises(SystemExit) as ended:
        full_data.main()
    legal = f"legal: a training archive with {TEST_FOLDER} next to it"
    assert ended.value.code == f"error: --sample {tmp_path / sample}: {problem}; {legal}"


def test_a_pass_is_all_speech_and_as_much_silence_as_a_word_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(full_data, "RESULTS", tmp_path / "results.json")
    merge("tiny full", {"training_ms": 10.0, "scoring_ms": 2.0}, full_data.RESULTS)
    merge("check a folder", {"cpu_seconds": 26.0}, full_data.RESULTS)
    assert list(full_data.expected()) == [
        "tiny full: 529 s of one thread to train on 52942 clips, 106 s to score them"
    ]


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
