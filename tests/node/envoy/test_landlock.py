"""What a process keeps that has given up its rights; each is one of its own, as nobody gets them back."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from superb_node.envoy import landlock

pytestmark = pytest.mark.skipif(not landlock.abi(), reason="this kernel has no Landlock")
needs_network = pytest.mark.skipif(landlock.abi() < 4, reason="Landlock 4 is the first that knows TCP")
needs_scope = pytest.mark.skipif(landlock.abi() < 6, reason="Landlock 6 is the first that knows signals")
# What Python itself reads; what else may be read and written is the test's.
CONFINED = """
import os, socket, subprocess, sys
from pathlib import Path
from superb_node.envoy.landlock import restrict
shard, own, port = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
python = [Path(sys.prefix), Path(sys.base_prefix), Path("/usr"), Path("/lib"), Path("/lib64"), Path("/proc")]
restrict([*python, shard, Path("/not/there")], [own, Path("/dev/null")], [port])
def tried(do):
    try:
        do()
    except PermissionError:
        return "refused"
    return "done"
"""


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A shard with a clip, and a folder of the process's own; next to them lies a secret."""
    shard, own = tmp_path / "shard", tmp_path / "own"
    for folder in (shard, own):
        folder.mkdir()
    (shard / "clip.wav").write_text("sound")
    (tmp_path / "secret").write_text("key")
    return shard, own


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def confined(folders: tuple[Path, Path], code: str, port: int = 1) -> str:
    """Run code with the rights to `folders` and `port` alone; returns what it prints."""
    result = subprocess.run(
        [sys.executable, "-c", CONFINED + code, *map(str, folders), str(port)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.mark.parametrize(
    ("code", "printed"),
    [
        ('(shard / "clip.wav").read_text()', "done"),
        ("os.listdir(shard)", "done"),
        (
            '(own / "new").write_text("x"); (own / "new").rename(own / "other"); (own / "other").unlink()',
            "done",
        ),
        ('(own / "folder").mkdir(); (own / "folder").rmdir()', "done"),
        ('open("/dev/null", "w").write("x")', "done"),
        ('(shard.parent / "secret").read_text()', "refused"),
        ("os.listdir(shard.parent)", "refused"),
        ('(own / "link").symlink_to(shard.parent / "secret"); (own / "link").read_text()', "refused"),
        ('(shard / "clip.wav").write_text("x")', "refused"),
        ('(shard / "new").write_text("x")', "refused"),
        ('os.truncate(shard / "clip.wav", 0)', "refused" if landlock.abi() >= 3 else "done"),
        ('(shard / "clip.wav").unlink()', "refused"),
        ('(shard / "clip.wav").rename(own / "clip.wav")', "refused"),
        ('os.mknod(own / "device", 0o600 | 0o020000, os.makedev(1, 3))', "refused"),
    ],
)
def test_files(folders: tuple[Path, Path], code: str, printed: str) -> None:
    assert confined(folders, f"print(tried(lambda: ({code.replace('; ', ', ')},)))") == printed


def test_a_folder_that_was_exchanged_for_a_link_stays_closed(folders: tuple[Path, Path]) -> None:
    """The author of an experiment names a folder; whoever can write next to it may exchange it."""
    code = """
from superb_node.envoy.landlock import LinkInTheWay
named = own / "model"
{make}
try:
    restrict(python, [], [], no_links=[named])
    print(tried(lambda: os.listdir(named)))
except LinkInTheWay as told:
    print(told)
"""
    assert confined(folders, code.format(make="named.mkdir()")) == "done"
    (folders[1] / "model").rmdir()
    told = confined(folders, code.format(make='named.symlink_to("/")'))
    assert told == f"{folders[1] / 'model'} was exchanged for a link; it stays closed"


@needs_network
def test_one_port_can_be_called_and_none_be_served(folders: tuple[Path, Path], listener: int) -> None:
    code = """
print(tried(lambda: socket.create_connection(("127.0.0.1", {port}), timeout=5)))
print(tried(lambda: socket.socket().bind(("127.0.0.1", port))))
"""
    assert confined(folders, code.format(port=listener), listener) == "done\nrefused"
    assert confined(folders, code.format(port=listener), port=1) == "refused\nrefused"


@pytest.mark.parametrize(
    "start",
    [
        'subprocess.run([sys.executable, "-c", code], check=True)',
        "exec(code) if not (child := os.fork()) else os.waitpid(child, 0)",
    ],
    ids=["exec", "fork"],
)
def test_what_it_starts_has_no_more_rights(folders: tuple[Path, Path], start: str) -> None:
    code = f"""
code = '''
try:
    open({str(folders[0].parent / "secret")!r})
except PermissionError:
    print("refused", flush=True)
'''
{start}
"""
    assert "refused" in confined(folders, code)


@needs_scope
def test_it_neither_signals_nor_looks_into_the_process_that_started_it(folders: tuple[Path, Path]) -> None:
    code = """
print(tried(lambda: os.kill(os.getppid(), 0)))
print(tried(lambda: open(f"/proc/{os.getppid()}/environ").read()))
"""
    assert confined(folders, code) == "refused\nrefused"


def test_a_process_with_threads_is_told(tmp_path: Path) -> None:
    """Its other threads would keep their rights."""
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        with pytest.raises(RuntimeError, match="several threads cannot give up"):
            landlock.restrict([tmp_path], [], [])
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "stay allowed"), (1, "Landlock 1: files only"), (4, "files, TCP"), (99, "files, TCP, signals")],
)
def test_what_is_possible_is_said(monkeypatch: pytest.MonkeyPatch, number: int, words: str) -> None:
    """Stands in for kernels that this one is not."""
    monkeypatch.setattr(landlock, "abi", lambda: number)
    assert landlock.possible().endswith(words)


@pytest.mark.parametrize("number", [n for n in (1, 2, 3, 4, 5, 6) if n < landlock.abi()])
def test_older_kernels_are_asked_for_what_they_know(folders: tuple[Path, Path], number: int) -> None:
    code = f"""
import superb_node.envoy.landlock as landlock
landlock.abi = lambda: {number}
landlock.restrict([*python, own], [own], [port])
print(tried(lambda: (shard / "clip.wav").read_text()))
"""
    assert confined(folders, code) == "refused"
