"""The command: what ``make certs`` prints and how it ends."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from certificates.__main__ import main

ROOT = Path(__file__).resolve().parents[2]


def run(folder: Path, *options: str) -> int:
    return main(["--folder", str(folder), *options])


def test_it_makes_then_keeps_then_lists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "certs"
    assert run(folder, "--host", "gpu1", "--envoys", "clinic", "phone") == 0
    first = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in first[:5]] == ["authority", "director", "notebook", "clinic", "phone"]
    assert all(line.split()[2] == "made" for line in first[:5])
    assert "365 days" in first[1]
    assert "for gpu1, localhost, 127.0.0.1, ::1" in first[1]
    assert run(folder, "--envoys", "clinic") == 0
    assert capsys.readouterr().out.splitlines()[3].split()[:3] == ["clinic", "envoy", "kept"]
    assert run(folder, "--list") == 0
    listed = capsys.readouterr().out.splitlines()
    assert sorted(line.split()[0] for line in listed) == sorted(line.split()[0] for line in first[:5])


def test_a_number_of_envoys_are_named_as_the_demo_names_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "certs", "--envoys", "11") == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names[3:5] == ["env_one", "env_two"]
    assert names[13] == "env_11"


def test_the_end_of_a_certificate_is_announced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "certs", "--days", "29") == 0
    assert run(tmp_path / "certs", "--list") == 1
    listed = capsys.readouterr().out
    assert listed.count("expires soon: make certs CERTS_OPTIONS=--force") == 8  # four nodes, twice


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--list",), "no certificates in"),
        (("--envoys", "a/b"), "name 'a/b': legal"),
        (("--envoys", "0"), "0 envoys; legal are 1 to 1000, or their names"),
        (("--host", "a_b"), "host 'a_b': legal"),
    ],
)
def test_a_mistake_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    assert run(tmp_path / "certs", *options) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith(f"certs: {message}")


def test_make_passes_on_what_it_is_told() -> None:
    command = ["make", "-n", "certs", "HOST=gpu1 10.0.0.5", "ENVOYS=clinic phone", "USER=alice"]
    told = subprocess.run(
        [*command, "CERTS_OPTIONS=--days 90"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert "-m certificates --host gpu1 10.0.0.5 --user 'alice' --envoys clinic phone" in told
    assert "--days 90" in told
    usual = subprocess.run(
        ["make", "-n", "certs"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert "--host localhost --user 'notebook' --envoys 2" in usual  # not the USER of the environment
