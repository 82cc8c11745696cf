"""The command line refuses what cannot be spoken or trained, with one line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from pretraining import ROOT, __main__, corpus
from pretraining.__main__ import main, options
from pretraining.checkpoint import CARD, FILES, FOLDER, WEIGHTS, sha256
from pretraining.training import Plan


@pytest.fixture
def torch_put_back() -> Iterator[None]:
    """The command sets what is of its whole process."""
    yield
    torch.use_deterministic_algorithms(False)


def test_the_command_speaks_trains_and_publishes(
    flite_is_here: None, torch_put_back: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With few texts and short turns, so that it is done in seconds."""
    monkeypatch.setattr(corpus, "BLOCK", 8)
    monkeypatch.setattr(__main__, "FEWEST_CLIPS", 32)
    monkeypatch.setattr(__main__, "Plan", partial(Plan, invented=20, phrases=20))
    assert main(["--clips", "32", "--steps", "1", "--folder", str(tmp_path / "new")]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    assert {path.name for path in (tmp_path / "new").iterdir()} == FILES
    card = (tmp_path / "new" / CARD).read_text(encoding="utf-8")
    assert sha256(tmp_path / "new" / WEIGHTS) in card
    assert "`python -m pretraining --clips=32 --steps=1 --folder=new`" in card


def test_ctrl_c_ends_in_a_line(
    torch_put_back: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(__main__, "speak_corpus", lambda *_: signal.raise_signal(signal.SIGINT))
    assert main(["--folder", str(tmp_path / "new")]) == 128 + signal.SIGINT
    assert capsys.readouterr().err == "interrupted; nothing is published\n"


def test_ctrl_c_ends_those_who_speak_without_a_word(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    blocks = [["en-us", "m3", ["sheep"] * 100_000]]
    script.write_text(json.dumps({"seed": 0, "blocks": blocks}), encoding="utf-8")
    command = [sys.executable, "-m", "pretraining.speaking", str(script), "0", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as speaker:
        assert speaker.stdout is not None
        assert speaker.stdout.read(1) == b"."
        speaker.send_signal(signal.SIGINT)
        assert speaker.communicate(timeout=60)[1] == b""
    assert speaker.returncode == -signal.SIGINT


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
