"""The benchmark of reading a corpus: its folder is what it says, and its limits are told apart."""

import os
from pathlib import Path

from benchmarks.data import LIMITS, make_folder, measure_original, verdicts
from speech_commands.reader.folders import read_folders

Folders = tuple[Path, Path]


def test_the_folder_has_as_many_clips_as_asked_for_and_holds_each_once(
    archives: Folders, tmp_path: Path
) -> None:
    big = tmp_path / "big" / "train"
    make_folder(big, archives[0], 100)
    corpus = read_folders(big, archives[1])
    spoken = corpus.splits["train"].table
    names = [key for key in spoken.keys.tolist() if not key.startswith("_background_noise_")]
    assert len(names) == len(set(names)) == 100
    assert len({os.stat(big / name).st_ino for name in names}) == 22
    assert (spoken.speakers != "").sum() == 100


def test_a_limit_is_kept_at_its_very_value() -> None:
    at_the_limits = {name: limit for name, (_, limit) in LIMITS.items()}
    assert all(verdicts(at_the_limits).values())
    beyond = {name: limit * (1.1 if bound == "at most" else 0.9) for name, (bound, limit) in LIMITS.items()}
    assert not any(verdicts(beyond).values())


def test_the_original_logic_decodes_everything_first(archives: Folders) -> None:
    figures = measure_original(str(archives[0]), str(archives[1]), 0)
    assert figures["clips"] == 11  # every other one of the 22 for training
    assert figures["first_item_seconds"] > 0
