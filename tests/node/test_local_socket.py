"""The folder of this account's sockets, and who gets one of them."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from demo.ports import free_ports
from superb_node import local_socket
from superb_node.errors import ConfigError
from superb_node.local_socket import only_listener, path, private_folder
from tests.support.other_account import UID

LISTENER = """
import sys, time
from concurrent.futures import ThreadPoolExecutor
import grpc
from superb_node.local_socket import only_listener
with only_listener(int(sys.argv[1])) as path:
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_insecure_port(f"unix:{path}")
    server.start()
    print(path, flush=True)
    time.sleep(60)
"""


def test_it_is_the_same_whatever_the_environment_says() -> None:
    code = "from superb_node.local_socket import path; print(path('50050'))"
    for environment in ({}, {"HOME": "/var/tmp", "TMPDIR": "/var/tmp", "XDG_RUNTIME_DIR": "/var/tmp"}):
        command = [sys.executable, "-c", code]
        said = subprocess.run(
            command, env=environment, cwd="/", capture_output=True, text=True, check=True, umask=0o027
        )
        assert said.stdout == f"/tmp/superb-federation-{os.geteuid()}/50050\n"
    folder = Path(path(50050)).parent.stat()
    assert (folder.st_uid, folder.st_mode & 0o777) == (os.geteuid(), 0o700)


@pytest.mark.parametrize("port", ["", "0", 65536, "-1", "50051/../x", "../50051", "5e4", None, True, "٣"])
def test_what_is_no_port_names_no_file(port: object) -> None:
    with pytest.raises(ConfigError, match=r"legal: 1 to 65535"):
        path(port)


@pytest.mark.parametrize("mode", [0o701, 0o710, 0o755, 0o777, 0o500])
def test_a_folder_that_others_can_enter_is_refused(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "sockets"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(ConfigError, match=rf"^{folder} must .* its mode is {mode:o}, not 700; .*make certs"):
        private_folder(folder)
    folder.chmod(0o700)
    assert private_folder(folder) == folder


def test_what_is_no_folder_of_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "ours")
    (tmp_path / "file").touch()
    for name in ("link", "file"):
        with pytest.raises(ConfigError, match=rf"^{tmp_path / name} must be a folder of this account"):
            private_folder(tmp_path / name)
    with pytest.raises(ConfigError, match=r"nowhere/sockets must be a folder .*No such file"):
        private_folder(tmp_path / "nowhere" / "sockets")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another account")
def test_a_folder_of_another_account_is_refused(tmp_path: Path) -> None:
    (tmp_path / "squatted").mkdir(mode=0o700)
    os.chown(tmp_path / "squatted", UID, UID)
    with pytest.raises(ConfigError, match=f"it belongs to account {UID}; have it removed, or use TLS"):
        private_folder(tmp_path / "squatted")


def test_it_is_refused_where_others_could_replace_it(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(ConfigError, match="anybody may replace what is in"):
        private_folder(tmp_path / "sockets")
    tmp_path.chmod(0o1777)
    private_folder(tmp_path / "sockets")


def test_programs_that_tidy_up_leave_it_alone(tmp_path: Path) -> None:
    """That of systemd passes over a folder that it cannot lock."""
    tidying = os.open(private_folder(tmp_path / "sockets"), os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(tidying, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(tidying)


def test_the_second_listener_is_refused_also_in_one_process() -> None:
    (port,) = free_ports(1)
    with (
        only_listener(port),
        pytest.raises(OSError, match=rf"Address already in use: 'localhost:{port}'"),
        only_listener(port),
    ):
        pass
    with only_listener(port):
        pass


def test_of_two_that_start_at_once_one_listens() -> None:
    (port,) = free_ports(1)
    command = [sys.executable, "-c", LISTENER, str(port)]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in "ab"
    ]
    try:
        (loser,) = [each for each in both if each.stdout is not None and not each.stdout.readline()]
        assert "Address already in use" in loser.communicate()[1]
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(path(port))
    finally:
        for each in both:
            each.kill()
            each.communicate()


def test_the_socket_of_a_killed_process_is_no_hindrance() -> None:
    (port,) = free_ports(1)
    for _ in range(2):
        command = [sys.executable, "-c", LISTENER, str(port)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as listener:
            assert listener.stdout is not None
            assert listener.stdout.readline() == f"{path(port)}\n"
            listener.kill()
        assert Path(path(port)).is_socket()
    with only_listener(port) as free:
        assert not Path(free).exists()


def test_a_missing_director_is_looked_for_among_the_other_accounts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (port,) = free_ports(1)
    monkeypatch.setattr(local_socket, "FOLDERS", tmp_path)
    path(port)
    assert local_socket.who_else(f"localhost:{port}") == ""
    (tmp_path / f"superb-federation-{UID}").mkdir()
    assert local_socket.who_else(f"localhost:{port}").endswith("across accounts use make certs")


# Takes a port again and again; nobody else may have it meanwhile, although each holder removes what it locks.
CONTENDER = """
import os, sys, time
from superb_node.local_socket import only_listener
port, witness, taken = int(sys.argv[1]), sys.argv[2], 0
until = time.monotonic() + 2
while time.monotonic() < until:
    try:
        with only_listener(port):
            os.close(os.open(witness, os.O_CREAT | os.O_EXCL))
            os.unlink(witness)
            taken += 1
    except FileExistsError:
        sys.exit("two have it")
    except OSError:
        pass
print(taken)
"""


def test_nothing_is_left_and_of_many_who_come_and_go_one_has_it(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    command = [sys.executable, "-c", CONTENDER, str(port), str(tmp_path / "witness")]
    contenders = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in "abcd"
    ]
    for each in contenders:
        printed, errors = each.communicate(timeout=60)
        assert each.returncode == 0, errors
        assert int(printed) > 0
    assert not list(Path(path(port)).parent.glob(f"{port}*"))
