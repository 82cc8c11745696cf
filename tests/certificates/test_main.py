"""The command: what ``make certs`` prints and how it ends."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from certificates.__main__ import main

ROOT = Path(__file__).resolve().parents[2]


def run(folder: Path, *options: str) -> int:
    return main(["--folder", str(folder), "--authorities", f"{folder}-authorities", *options])


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
    assert listed.count("expires soon: make certs CERTS_OPTIONS='--force env_one'") == 2  # made, listed
    assert run(tmp_path / "certs", "--force", "env_one") == 0
    assert [line.split()[:3] for line in capsys.readouterr().out.splitlines()[:2]] == (
        [["authority", "authority", "kept"], ["env_one", "envoy", "made"]]
    )
    assert run(tmp_path / "certs", "--force") == 0
    assert capsys.readouterr().out.count(" made ") == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--list",), "no certificates in"),
        (("--envoys", "a/b"), "name 'a/b'; legal"),
        (("--envoys", "0"), "0 envoys; legal: 1 to 1000, or their names"),
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


def shell(folder: Path, command: str, **variables: str) -> str:
    """Run a line of a shell in ``folder``; returns what it prints."""
    return subprocess.run(
        command, shell=True, cwd=folder, env={**os.environ, "HOME": str(folder / "home"), **variables},
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with what ``make certs`` needs; its environment counts as up to date."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "certificates").symlink_to(ROOT / "certificates")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (tmp_path / ".venv" / "bin" / "python").chmod(0o755)
    needed = ("constraints.txt", "requirements.txt", "node/pyproject.toml")
    (tmp_path / "node").mkdir()
    for name in (*needed, ".venv/.made", ".venv/.installed"):
        (tmp_path / name).touch()
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.pem")}


def test_the_hint_that_is_printed_renews_that_certificate_alone(checkout: Path) -> None:
    shell(checkout, "make certs HOST='gpu1 10.0.0.5' ENVOYS=clinic_a CERTS_OPTIONS='--days 29'")
    for name in ("clinic_a", "director"):
        listed = shell(checkout, "make certs CERTS_OPTIONS=--list 2>&1 || true")
        (line,) = [each for each in listed.splitlines() if each.startswith(f"{name} ")]
        hint = line[line.index("make certs") :].split("  ")[0]
        assert hint == f"make certs CERTS_OPTIONS='--force {name}'"
        before = contents(checkout / "certs")
        said = shell(checkout, hint)
        after = contents(checkout / "certs")
        assert {path for path in after if after[path] != before.get(path)} == (
            {f"{name}/certificate.pem", f"{name}/private_key.pem"}
        )
        assert after.keys() == before.keys()
        assert ("for gpu1, localhost, 10.0.0.5, 127.0.0.1, ::1" in said) == (name == "director")
    # Neither a further run nor one for all makes envoys that nobody asked for.
    shell(checkout, "make certs && make certs CERTS_OPTIONS=--force")
    assert contents(checkout / "certs").keys() == before.keys()
    assert "for gpu1, " in shell(checkout, "make certs CERTS_OPTIONS=--list")
    assert "for gpu2, localhost" in shell(checkout, "make certs HOST=gpu2 CERTS_OPTIONS='--force director'")


def test_the_authority_is_kept_outside_of_the_checkout(checkout: Path) -> None:
    said = shell(checkout, "make certs")
    (key,) = (checkout / "home" / ".superb-federation-authority").glob("*/private_key.pem")
    assert said.endswith(
        f"{key.parent} has the authority's key; anyone who has it can create any identity.\n"
    )
    assert sorted(path.name for path in (checkout / "certs").iterdir()) == (
        ["director", "env_one", "env_two", "notebook"]
    )


def test_who_is_not_there_is_not_renewed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "certs", "--envoys", "clinic") == 0
    capsys.readouterr()
    assert run(tmp_path / "certs", "--force", "phone") == 2
    assert capsys.readouterr().err == (
        f"certs: 'phone' is not in {tmp_path / 'certs'}, which has clinic, director, notebook\n"
    )


def test_make_passes_on_what_it_is_told_and_no_more(checkout: Path) -> None:
    noting = '#!/bin/sh\necho "$@"\n'
    (checkout / ".venv" / "bin" / "python").write_text(noting)
    told = shell(
        checkout, "make certs HOST='gpu1 10.0.0.5' ENVOYS='clinic phone' CERTS_USER=alice "
        "CERTS_OPTIONS='--days 90'",
    )  # fmt: skip
    assert told == "-m certificates --user=alice --host gpu1 10.0.0.5 --envoys clinic phone --days 90\n"
    usual = shell(checkout, "make certs", USER="alice", HOST="mine", ENVOYS="7")
    assert usual == "-m certificates --user=notebook\n"


def test_recipes_have_the_users_own_environment(checkout: Path) -> None:
    with (checkout / "Makefile").open("a") as makefile:
        makefile.write('who:\n\t@echo "$$USER at $$HOST"\n')
    assert shell(checkout, "make -s who", USER="alice", HOST="mine") == "alice at mine\n"
