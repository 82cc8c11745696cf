"""A checkout has the line ends that its programs read, whatever git is told about them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def git(folder: Path, *arguments: str) -> str:
    name = ("-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *name, *arguments], cwd=folder, capture_output=True, check=True)
    return done.stdout.decode()


def tracked() -> list[str]:
    """Files of this project, where it is a checkout and git is here."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs git and a checkout")
    listed = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    return [name for name in listed if name and (ROOT / name).is_file()]


@pytest.mark.parametrize("autocrlf", ["true", "input", "false"])
def test_a_clone_has_no_carriage_return_and_the_same_bytes(tmp_path: Path, autocrlf: str) -> None:
    names = tracked()
    origin, clone = tmp_path / "origin", tmp_path / "clone"
    for name in names:
        (origin / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, origin / name)
    git(origin, "init", "--quiet")
    git(origin, "add", "--force", ".")
    git(origin, "commit", "--quiet", "--message", "all of it")
    git(tmp_path, "clone", "--quiet", "--config", f"core.autocrlf={autocrlf}", str(origin), str(clone))
    assert {".ci/run", "Makefile", "envoy/start_envoy.sh", "pretraining/words.txt"} <= set(names)
    changed = [name for name in names if (clone / name).read_bytes() != (ROOT / name).read_bytes()]
    assert not changed
    texts = [name for name in names if b"\0" not in (clone / name).read_bytes()]
    assert not [name for name in texts if b"\r\n" in (clone / name).read_bytes()]
    subprocess.run(["bash", "-n", clone / "envoy" / "start_envoy.sh"], check=True)


def test_a_file_that_comes_with_carriage_returns_is_stored_without(tmp_path: Path) -> None:
    tracked()
    git(tmp_path, "init", "--quiet")
    shutil.copy(ROOT / ".gitattributes", tmp_path)
    for name, content in (("new.sh", b"a\r\nb\r\n"), ("list.txt", b"yes\r\n"), ("clip.wav", b"RIFF\r\n")):
        (tmp_path / name).write_bytes(content)
    git(tmp_path, "add", ".")
    stored = {name: git(tmp_path, "show", f":{name}") for name in ("new.sh", "list.txt", "clip.wav")}
    assert stored == {"new.sh": "a\nb\n", "list.txt": "yes\n", "clip.wav": "RIFF\r\n"}
