"""Starting the director: its config, its port, its folder."""

import errno
import fcntl
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from demo.ports import free_ports
from superb_node.director.__main__ import only_director_in
from superb_node.director.config import DirectorConfig
from superb_node.director.listening import own_port
from superb_node.errors import ConfigError
from superb_node.work_folder import MARKER, own_work_folder

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def no_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIRECTOR_HOST", raising=False)
    monkeypatch.delenv("DIRECTOR_PORT", raising=False)


def config(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return path


def test_the_config_that_is_shipped():
    shipped = DirectorConfig.load(ROOT / "director" / "director_config.yaml")
    assert (shipped.listen_host, shipped.listen_port) == ("localhost", 50050)


def test_the_environment_takes_precedence(tmp_path, monkeypatch):
    monkeypatch.setenv("DIRECTOR_PORT", "51000")
    assert DirectorConfig.load(config(tmp_path, "settings: {listen_port: 50050}")).listen_port == 51000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("settings: {port: 1}", "unknown setting 'port'; legal: listen_host"),
        ("settings: {listen_port: 80}", "port is 80; legal: 1024 to 65535"),
        ("settings: {listen_port: abc}", "port is 'abc'"),
        (
            "settings: {aggregator_port: 80}",
            "is 80; legal: null, a port from 1024 to 65535, or a range of up to 16",
        ),
        ("settings: {aggregator_port: 50053-50051}", "is '50053-50051'; legal: null, a port"),
        ("settings: {aggregator_port: 50051-50067}", "is '50051-50067'; legal: null, a port"),
        ("settings: {aggregator_port: [50051, 50052]}", r"is \[50051, 50052\]; legal: null, a port"),
        ("settings: {aggregator_port: true}", "is True; legal: null, a port"),
        ("settings: {aggregator_port: 50049-50051}", "is '50049-50051'; legal: others than 50050, where the"),
        ("settings: {envoy_health_check_period: 0}", "is 0; legal: 1 to 3600 seconds"),
        (
            "settings: {envoy_health_check_period: true}",
            "config.yaml: envoy_health_check_period is True; legal: 1 to 3600 seconds",
        ),
        ("settings: {envoys: env_one}", "envoys is 'env_one'; a list of names such as"),
        ("settings: {envoys: [1]}", r"envoys is \[1\]; a list of names such as"),
        ("settings: [1", "is not a YAML file"),
        ("- 1", "is not a YAML file"),
    ],
)
def test_mistakes_are_named_with_what_is_legal(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        DirectorConfig.load(config(tmp_path, text))


def test_the_ports_of_the_aggregators(tmp_path, monkeypatch):
    for text, ports in {"null": (), "50051": (50051,), "50051-50053": (50051, 50052, 50053)}.items():
        path = config(tmp_path, f"settings: {{aggregator_port: {text}}}")
        assert DirectorConfig.load(path).aggregator_port == ports
    monkeypatch.setenv("DIRECTOR_PORT", "50052")
    with pytest.raises(ConfigError, match="legal: others than 50052, where the director itself listens"):
        DirectorConfig.load(path)


def test_a_missing_config(tmp_path):
    with pytest.raises(ConfigError, match="no director config at .*nowhere.yaml"):
        DirectorConfig.load(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_taken_port_is_named(address):
    """Also if only one of the addresses of localhost is taken, with which gRPC would be content."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as taken:
        try:
            taken.bind((address, 0))
        except OSError:
            pytest.skip(f"this machine has no address {address}")
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(ConfigError, match=rf"cannot listen on localhost:{port} .*DIRECTOR_PORT"),
            own_port("localhost", port),
        ):
            pass
    with own_port("localhost", port) as address_to_listen_on:
        assert address_to_listen_on == f"localhost:{port}"


def test_a_foreign_host_is_named():
    with (
        pytest.raises(ConfigError, match=r"cannot listen on 192\.0\.2\.1:50050"),
        own_port("192.0.2.1", 50050),
    ):
        pass


def test_the_work_folder_is_swept_only_with_our_marker(tmp_path):
    folder = tmp_path / "work" / "50050"
    (folder / "remains").mkdir(parents=True)
    (folder / MARKER).touch()
    with own_work_folder(folder, "director"):
        assert Path.cwd() == folder
        assert [path.name for path in folder.iterdir()] == [MARKER]
    assert not folder.exists()

    foreign = tmp_path / "work" / "50051"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years of work")
    with (
        pytest.raises(ConfigError, match="50051 holds files that are not the director's"),
        own_work_folder(foreign, "director"),
    ):
        pass
    assert (foreign / "thesis.txt").exists()


def test_a_second_director_is_kept_out_of_the_folder(tmp_path):
    with (
        only_director_in(tmp_path),
        pytest.raises(ConfigError, match="a director already runs from this folder"),
        only_director_in(tmp_path),
    ):
        pass
    with only_director_in(tmp_path):
        pass


@pytest.mark.parametrize("shape", ["16000", "{}"])
def test_a_shape_is_a_list(tmp_path: Path, shape: str):
    (tmp_path / "config.yaml").write_text(f"settings:\n  sample_shape: {shape}\n")
    with pytest.raises(ConfigError, match="sample_shape is .* a list such as"):
        DirectorConfig.load(tmp_path / "config.yaml")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_without_locks_is_told_from_a_second_director(monkeypatch, tmp_path, number):
    """Stands in for NFS and Lustre, which a test cannot mount."""

    def flock(*_: object) -> None:
        raise OSError(number, "why")

    monkeypatch.setattr(fcntl, "flock", flock)
    with (
        pytest.raises(
            ConfigError, match=r"work is on a file system that cannot lock a file \(why\).* local disk"
        ),
        only_director_in(tmp_path),
    ):
        pass


def test_ctrl_c_while_it_starts_ends_it_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "director_config.yaml").write_text(f"settings: {{listen_port: {free_ports(1)[0]}}}\n")
    source = (
        "import os, signal, sys, time\n"
        "from superb_node.director import __main__ as director\n"
        "director.serve = lambda *_: (os.kill(os.getpid(), signal.SIGINT), time.sleep(30))\n"
        "sys.argv = ['superb_node.director']\n"
        "sys.exit(director.main())\n"
    )
    command = [sys.executable, "-c", source]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == -signal.SIGINT
    (line,) = ended.stderr.splitlines()
    assert line.endswith("INFO    Director stopped")
