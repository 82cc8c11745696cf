"""The command line refuses what cannot be spoken or trained, with one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from pretraining.__main__ import options
from pretraining.checkpoint import FILES, FOLDER
from pretraining.training import Plan


def test_the_defaults_are_the_published_ones() -> None:
    plan, chosen = Plan(), options([])
    assert (chosen.seed, chosen.clips, chosen.steps) == (plan.seed, plan.clips, plan.steps)
    assert chosen.folder == FOLDER
    assert options(["--clips", "200", "--steps", "1"]).clips == 200


@pytest.mark.parametrize(
    ("option", "value", "least"),
    [("--clips", "0", 200), ("--clips", "199", 200), ("--clips", "many", 200), ("--steps", "0", 1),
     ("--steps", "1.5", 1), ("--seed", "-1", 0)],
)  # fmt: skip
def test_an_illegal_number_is_named_with_its_option(
    option: str, value: str, least: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        options([f"{option}={value}"])
    assert ended.value.code == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.endswith(f"error: argument {option}: {value!r}; legal: a whole number from {least}")


def older_model(folder: Path, *more: str) -> Path:
    """Make a folder with the names of the files that the command writes, and some more."""
    folder.mkdir(parents=True)
    for name in (*FILES, *more):
        (folder / name).touch()
    return folder


def test_a_model_goes_to_a_new_folder_or_in_place_of_an_older_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new, older = tmp_path / "not" / "there", older_model(tmp_path / "older")
    (tmp_path / "link").symlink_to(older)
    monkeypatch.chdir(older)
    for text, folder in ((new, new), (older, older), (tmp_path / "link", older), (".", older)):
        assert options([f"--folder={text}"]).folder == folder
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "older"]  # nothing was made


def test_any_other_folder_is_refused_before_anything_is_spoken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    older_model(tmp_path / "more", "notes.txt")
    (older_model(tmp_path / "fewer") / "config.json").unlink()
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    for text in (".", "more", "fewer", "file", "file/new", "/proc/new"):
        with pytest.raises(SystemExit) as ended:
            options([f"--folder={text}"])
        assert ended.value.code == 2
        told = capsys.readouterr().err.splitlines()[-1]
        legal = "a new folder, where one can be made, or an older model's, which has README.md, config.json"
        assert f"error: argument --folder: {text!r}; legal: {legal}" in told
