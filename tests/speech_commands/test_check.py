"""The check: every kind of finding is found, with the exit code that goes with it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speech_commands.check.__main__ import read_config
from speech_commands.check.inspection import NOTES, PROBLEMS, Findings, inspect, is_cut, without_crops
from speech_commands.check.report import SUPERB, finding_lines
from speech_commands.reader.folders import read_folders
from superb_node.errors import DataError
from superb_node.labels import LABELS
from superb_node.shard_card import SPLITS

Folders = tuple[Path, Path]


def check(archives: Folders) -> Findings:
    return inspect(read_folders(*archives, on_bad_clip="skip"), archives[0])


def test_clean_archives(archives: Folders) -> None:
    assert check(archives).places == {}


def not_audio(train: Path, test: Path) -> None:
    (train / "yes" / "00000001_nohash_0.wav").write_text("hello")


def without_a_sample(train: Path, test: Path) -> None:
    soundfile.write(train / "yes" / "00000001_nohash_0.wav", np.zeros(0), 16_000)


def cut(train: Path, test: Path) -> None:
    path = train / "yes" / "00000001_nohash_0.wav"
    path.write_bytes(path.read_bytes()[:-100])


def silent(train: Path, test: Path) -> None:
    soundfile.write(train / "yes" / "00000001_nohash_0.wav", np.zeros(1600), 16_000)


def speaker_in_two_splits(train: Path, test: Path) -> None:
    path = test / "yes" / "00000004_nohash_0.wav"
    path.rename(path.with_name("00000001_nohash_0.wav"))


def audio_in_two_splits(train: Path, test: Path) -> None:
    shutil.copy(train / "no" / "00000001_nohash_0.wav", test / "no" / "00000004_nohash_0.wav")


def audio_in_two_classes(train: Path, test: Path) -> None:
    shutil.copy(train / "no" / "00000001_nohash_0.wav", train / "up" / "00000001_nohash_0.wav")


def audio_twice(train: Path, test: Path) -> None:
    shutil.copy(train / "no" / "00000001_nohash_0.wav", train / "no" / "00000001_nohash_1.wav")


def clipped(train: Path, test: Path) -> None:
    samples = 2.0 * np.sin(np.arange(1600) / 20)
    soundfile.write(train / "yes" / "00000001_nohash_0.wav", samples.clip(-1, 1), 16_000)


def stereo(train: Path, test: Path) -> None:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (1600, 2))
    soundfile.write(train / "yes" / "00000001_nohash_0.wav", samples, 16_000)


def other_rate(train: Path, test: Path) -> None:
    soundfile.write(train / "yes" / "00000001_nohash_0.wav", np.sin(np.arange(800) / 9) / 2, 8_000)


def too_long(train: Path, test: Path) -> None:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 16_001)
    soundfile.write(train / "yes" / "00000001_nohash_0.wav", samples, 16_000)


def in_both_lists(train: Path, test: Path) -> None:
    (train / "testing_list.txt").write_text("yes/00000003_nohash_0.wav\n")


def listed_not_there(train: Path, test: Path) -> None:
    lines = "yes/00000009_nohash_0.wav\nbed/00000002_nohash_0.wav\n"
    (train / "testing_list.txt").write_text(lines)


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        (not_audio, "unreadable"),
        (without_a_sample, "unreadable"),
        (cut, "cut"),
        (silent, "silent"),
        (speaker_in_two_splits, "speaker in two splits"),
        (audio_in_two_splits, "same audio in two splits"),
        (audio_in_two_classes, "same audio, two classes"),
        (in_both_lists, "in both lists"),
        (audio_twice, "same audio twice"),
        (clipped, "clipped"),
        (stereo, "stereo"),
        (other_rate, "other rate"),
        (too_long, "longer than a second"),
        (listed_not_there, "listed, not there"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_each_kind_is_found_and_nothing_else(
    archives: Folders, damage: Callable[[Path, Path], None], kind: str
) -> None:
    damage(*archives)
    findings = check(archives)
    assert list(findings.places) == [kind]
    assert len(findings.places[kind]) == 1
    assert findings.any_problem == (kind in PROBLEMS)
    assert (kind in PROBLEMS) != (kind in NOTES)


def test_progress_is_told_of_each_clip(archives: Folders) -> None:
    corpus, told = read_folders(*archives), []
    inspect(corpus, archives[0], lambda: told.append("a clip"))
    assert len(told) == sum(len(without_crops(corpus, split)) for split in SPLITS)


@pytest.mark.parametrize("name", ["\x1b[2J", "a\nproblem: 1 x cut", "\u202eleft"])
def test_a_file_name_adds_no_line_and_no_command_to_the_report(archives: Folders, name: str) -> None:
    (archives[0] / "yes" / f"{name}_nohash_0.wav").write_text("not audio")
    silent(*archives)
    clip = archives[0] / "yes" / "00000001_nohash_0.wav"
    clip.rename(clip.with_name(f"{name}_nohash_1.wav"))
    findings = check(archives)
    lines = list(finding_lines(findings))
    assert {"unreadable", "silent"} <= set(findings.places)
    assert all(line.isprintable() for line in lines)


def test_cut_is_told_from_whole(archives: Folders) -> None:
    content = (archives[0] / "yes" / "00000001_nohash_0.wav").read_bytes()
    assert not is_cut(content)
    assert is_cut(content[:-1])
    assert not is_cut(b"")
    assert not is_cut(b"fLaC" + content)


def test_official_counts_add_up() -> None:
    assert {split: sum(counts) for split, counts in SUPERB.items()} == {
        "train": 51_094,
        "val": 6_798,
        "test": 3_081,
    }
    assert all(len(counts) == len(LABELS) for counts in SUPERB.values())


def run(envoy_dir: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "speech_commands.check", *arguments]
    return subprocess.run(command, cwd=envoy_dir, env=os.environ, capture_output=True, text=True, check=False)


def test_command_line_of_a_clean_corpus(archives: Folders, envoy_dir: Path) -> None:
    done = run(envoy_dir, str(archives[0]))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split() for line in lines if line.startswith("yes ")] == [
        ["yes", "2", "1860", "1", "261", "1", "256"]
    ]
    assert lines[-1] == "no problem found"


def test_command_line_of_a_config_with_a_problem(archives: Folders, envoy_dir: Path, tmp_path: Path) -> None:
    not_audio(*archives)
    config = tmp_path / "envoy_config.yaml"
    text = (envoy_dir / "envoy_config.yaml").read_text()
    text = text.replace("source: synthetic", "source: folder").replace(
        "data_dir: null", f"data_dir: {archives[0]}"
    )
    config.write_text(text)
    done = run(envoy_dir, "--config", str(config))
    assert done.returncode == 1, done.stderr
    assert "problem: 1 x unreadable" in done.stdout


def test_command_line_of_nothing_to_read(envoy_dir: Path, tmp_path: Path) -> None:
    done = run(envoy_dir, str(tmp_path / "nowhere"))
    assert done.returncode == 2
    assert done.stderr.strip().startswith("error: data_dir")
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "text", ["", "params: {}", "shard_descriptor: 3", "{", "shard_descriptor: {params: 5}"]
)
def test_a_wrong_config_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "envoy_config.yaml").write_text(text)
    with pytest.raises(DataError, match="not the configuration of an envoy"):
        read_config(tmp_path / "envoy_config.yaml")


def test_real_clips_have_no_problem(shared_dirs: Folders) -> None:
    findings = check(shared_dirs)
    assert not findings.any_problem
    assert set(findings.places) <= {"clipped"}
