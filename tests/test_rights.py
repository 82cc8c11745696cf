"""Programs say in one line what helps where they may not write, and where a user has no home."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.ports import free_ports
from superb_node.work_folder import OF_ONE_NODE
from tests.support.other_account import forget, open_to_all, unprivileged

ROOT = Path(__file__).resolve().parents[1]
NO_HOME = "this user has no home folder; set HOME to a folder, such as HOME=/tmp"


def run(
    folder: Path, *command: str, home: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder, as a user without rights; without a home unless one is given."""
    if home is None and os.geteuid() != 0:
        pytest.skip("this user has an entry in passwd, which names a home")
    variables = {"PATH": os.environ["PATH"], **({} if home is None else {"HOME": str(home)}), **environment}
    return subprocess.run(
        [*unprivileged(), sys.executable, *command], cwd=folder, env=variables,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def said(result: subprocess.CompletedProcess[str]) -> str:
    """Return the one line that a program that was refused said."""
    assert result.returncode not in (0, -6, -11), result
    (line,) = (result.stdout + result.stderr).splitlines()
    return line


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Path]:
    """A copy of the programs' folders in which nothing can be written."""
    for name in ("director", "envoy", "demo", "certificates", "workspace"):
        leave = shutil.ignore_patterns(*OF_ONE_NODE, "__pycache__", "tiny")
        shutil.copytree(ROOT / name, tmp_path / "checkout" / name, ignore=leave)
    folders = [tmp_path / "checkout", *(path for path in (tmp_path / "checkout").rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    (tmp_path / "home").mkdir(mode=0o777)
    (tmp_path / "home").chmod(0o777)
    open_to_all(tmp_path)
    yield tmp_path / "checkout"
    for folder in folders:
        folder.chmod(0o755)
    forget()


def test_a_director_in_a_folder_that_cannot_be_written(checkout: Path, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    home = tmp_path / "home"
    line = said(run(checkout / "director", "-m", "superb_node.director", home=home, DIRECTOR_PORT=str(port)))
    folder = checkout / "director"
    assert line == (
        f"director: {folder / 'work'} cannot be written (Permission denied); copy the folder {folder} to "
        "where you may write, and start the director there"
    )


def test_an_envoy_in_a_folder_that_cannot_be_written(checkout: Path, tmp_path: Path) -> None:
    folder = checkout / "envoy"
    shutil.copy(ROOT / "tests" / "support" / "sine_descriptor.py", tmp_path / "home")
    config = tmp_path / "home" / "config.yaml"
    config.write_text("shard_descriptor: {template: sine_descriptor.SineShardDescriptor}", encoding="utf-8")
    line = said(
        run(
            folder, "-m", "superb_node.envoy", "--config", str(config),
            home=tmp_path / "home", PYTHONPATH=str(tmp_path / "home"),
        )
    )  # fmt: skip
    assert line == (
        f"envoy: {folder / 'work'} cannot be written (Permission denied); copy the folder {folder} to "
        "where you may write, and start the envoy there"
    )


def test_a_demo_in_a_folder_that_cannot_be_written(checkout: Path, tmp_path: Path) -> None:
    line = said(run(checkout, "-m", "demo", home=tmp_path / "home"))
    assert line == (
        f"demo: {checkout / 'runs'} cannot be written (Permission denied); copy {checkout} to where you may "
        "write, and run the demo there"
    )


def test_certificates_in_a_folder_that_cannot_be_written(checkout: Path, tmp_path: Path) -> None:
    line = said(run(checkout, "-m", "certificates", home=tmp_path / "home"))
    assert line == "certs: certs/director cannot be written: Permission denied"


def test_a_cache_that_cannot_be_written(checkout: Path) -> None:
    """In a home that belongs to somebody else."""
    line = said(run(checkout / "envoy", "-m", "speech_commands.synthetic", home=checkout))
    assert line.startswith(f"error: {checkout / '.cache' / 'superb-federated'}/synthetic-v")
    assert line.endswith("; set SUPERB_CACHE to another")


@pytest.mark.parametrize(
    ("folder", "command"),
    [
        ("director", ["-m", "superb_node.director"]),
        ("envoy", ["-m", "superb_node.envoy"]),
        (".", ["-m", "demo"]),
    ],
    ids=["director", "envoy", "demo"],
)
def test_a_user_without_a_home_is_told_what_to_set(checkout: Path, folder: str, command: list[str]) -> None:
    name = "demo" if folder == "." else folder
    assert said(run(checkout / folder, *command)) == f"{name}: {NO_HOME}"


def test_a_cache_of_a_user_without_a_home(checkout: Path, tmp_path: Path) -> None:
    missing = run(checkout / "envoy", "-m", "speech_commands.synthetic")
    assert said(missing) == "error: this user has no home folder for a cache; set SUPERB_CACHE to a folder"
    # A corpus of one's own is looked through without a cache, too.
    checked = run(checkout / "envoy", "-m", "speech_commands.check", str(tmp_path / "home"))
    assert "speech_commands_test_set_v0.01: no such folder" in said(checked)
