"""What keeps a SuperLink or a SuperNode from starting: one line each, before Flower is started."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import sys
import sysconfig
import threading
import venv
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import pytest

from certificates.federation import make_certificates
from superb_node.flower.supernode import _in_toml

ROOT = Path(__file__).resolve().parents[3]
needs_flower = pytest.mark.skipif(find_spec("flwr") is None, reason="Flower needs Python 3.11 or later")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two folders, copied, with certificates for two envoys."""
    folder = tmp_path_factory.mktemp("nodes")
    for name in ("director", "envoy"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("work", "__pycache__"))
    make_certificates(folder / "certs", authorities=folder / "authorities", envoys=["env_one", "env_two"])
    config = (ROOT / "envoy" / "envoy_config.yaml").read_text(encoding="utf-8")
    for name, changes in (
        ("manual", {"approval: open": "approval: manual"}),
        ("digest", {"approval: open": "approval: digest"}),
        ("nowhere", {"data_dir: null": "data_dir: /no/such/folder", "source: synthetic": "source: folder"}),
    ):
        text = config
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new)
        (folder / "envoy" / f"{name}.yaml").write_text(text, encoding="utf-8")
    (folder / "envoy" / "approved_digests.txt").touch()
    damaged = shutil.copytree(folder / "certs" / "env_one", folder / "certs" / "damaged")
    (damaged / "private_key.pem").write_text("key")
    return folder


def line_of(script: str, *arguments: str, cwd: Path, **variables: str) -> str:
    """Run a script that must refuse; returns what it says."""
    result = subprocess.run(
        ["bash", script, *arguments], cwd=cwd, env={**os.environ, "PYTHON": sys.executable, **variables},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (result.returncode, result.stdout) == (2, ""), result.stderr
    (line,) = result.stderr.splitlines()
    return line


LINK, LINK_TLS = "start_superlink.sh", "start_superlink_with_tls.sh"


@needs_flower
@pytest.mark.parametrize(
    ("command", "variables", "message"),
    [
        ([LINK], {"DIRECTOR_PORT": "abc"}, "the director's port is 'abc'; legal: 1024 to 65535"),
        ([LINK], {"DIRECTOR_HOST": "a b"}, "DIRECTOR_HOST is 'a b', which is not a host name"),
        (
            [LINK],
            {"DIRECTOR_HOST": "192.0.2.7"},
            "without TLS the superlink listens on this machine only, and 192.0.2.7 is reached from others: "
            "any caller could have code run on all envoys. Use bash start_superlink_with_tls.sh HOST",
        ),
        ([LINK, "--insec"], {}, "--insec is set already; flower-superlink --help lists the others"),
        ([LINK_TLS], {}, "which HOST? bash start_superlink_with_tls.sh HOST"),
        ([LINK_TLS, "192.0.2.7"], {}, "the director's certificate is for localhost, 127.0.0.1, ::1, not 192"),
        ([LINK_TLS, "localhost"], {"CERTIFICATES": "nowhere"}, "no certificates in nowhere"),
    ],
)
def test_a_superlink(folder: Path, command: list[str], variables: dict[str, str], message: str) -> None:
    assert line_of(*command, cwd=folder / "director", **variables).startswith(f"superlink: {message}")


@needs_flower
def test_a_superlink_whose_port_is_taken(folder: Path) -> None:
    with socket.create_server(("localhost", 0)) as other:
        port = other.getsockname()[1]
        line = line_of(LINK, cwd=folder / "director", DIRECTOR_PORT=str(port))
    assert line.startswith(f"superlink: cannot listen on localhost:{port} (Address already in use)")


NODE, NODE_TLS = "start_supernode.sh", "start_supernode_with_tls.sh"


@needs_flower
@pytest.mark.parametrize(
    ("command", "variables", "message"),
    [
        ([NODE, "1a"], {}, "envoy name '1a'; legal: a letter"),
        ([NODE, "--max-retries", "3"], {}, "envoy name '--max-retries'; legal: a letter"),
        ([NODE, "env_one", "--max-retries=3"], {}, "no envoy config at --max-retries=3"),
        ([NODE, "env_one", "missing.yaml"], {}, "no envoy config at missing.yaml"),
        ([NODE, "env_one", "nowhere.yaml"], {}, "/no/such/folder"),
        (
            [NODE, "env_one", "manual.yaml"],
            {},
            "manual.yaml: approval is manual, and a SuperNode runs whatever",
        ),
        (
            [NODE, "env_one", "digest.yaml"],
            {},
            "digest.yaml: approval is digest, and a SuperNode runs whatever",
        ),
        ([NODE], {"DIRECTOR_PORT": "80"}, "the director's port is '80'; legal: 1024 to 65535"),
        (
            [NODE],
            {"DIRECTOR_HOST": "192.0.2.7"},
            "without TLS the supernode calls this machine only, and 192.0.2.7 is another: anyone in between "
            "could have code run here. Use bash start_supernode_with_tls.sh NAME HOST",
        ),
        ([NODE_TLS, "env_one"], {}, "which NAME, which HOST?"),
        ([NODE_TLS, "env_three", "localhost"], {}, "no certificates in ../certs/env_three"),
        (
            [NODE_TLS, "env_two", "localhost"],
            {"CERTIFICATES": "../certs/env_one"},
            "certificate.pem is for env_one, not for env_two",
        ),
    ],
)
def test_a_supernode(folder: Path, command: list[str], variables: dict[str, str], message: str) -> None:
    line = line_of(*command, cwd=folder / "envoy", **variables)
    assert line.startswith("supernode: ")
    assert message in line


@pytest.fixture(scope="module")
def small(folder: Path) -> str:
    """A config whose data are opened at once."""
    shutil.copy(ROOT / "tests" / "support" / "sine_descriptor.py", folder / "envoy")
    config = folder / "envoy" / "small.yaml"
    config.write_text("shard_descriptor: {template: sine_descriptor.SineShardDescriptor}\n")
    return config.name


@needs_flower
@pytest.mark.parametrize(
    ("tls", "reason"),
    [
        (True, "we do not accept its certificate: unable to get local issuer certificate"),
        (False, "it does not speak TLS, and we do"),
    ],
)
def test_a_supernode_and_a_superlink_of_others(
    folder: Path, small: str, tmp_path: Path, tls: bool, reason: str
) -> None:
    server = ThreadingHTTPServer(("localhost", 0), BaseHTTPRequestHandler)
    if tls:
        make_certificates(tmp_path / "certs", authorities=tmp_path / "authorities", envoys=["env_one"])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        own = tmp_path / "certs" / "director"
        context.load_cert_chain(own / "certificate.pem", own / "private_key.pem")
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = str(server.server_address[1])
    try:
        line = line_of(NODE_TLS, "env_one", "localhost", small, cwd=folder / "envoy", DIRECTOR_PORT=port)
    finally:
        server.shutdown()
        server.server_close()
    assert line == f"supernode: localhost:{port} is no SuperLink for this SuperNode: {reason}"


@needs_flower
def test_a_supernode_whose_key_is_damaged_or_whose_options_are_set_twice(folder: Path, small: str) -> None:
    """Both are found after the data were opened."""
    options = ("env_one", small, "--superlink=192.0.2.7:50050")
    line = line_of(NODE, *options, cwd=folder / "envoy")
    assert line == "supernode: --superlink is set already; flower-supernode --help lists the others"
    line = line_of(
        NODE_TLS, "env_one", "localhost", small, cwd=folder / "envoy", CERTIFICATES="../certs/damaged"
    )
    assert "private_key.pem is not an unencrypted private key in PEM format" in line


@pytest.mark.parametrize(("role", "script"), [("director", LINK), ("envoy", NODE)])
def test_without_flower_the_command_is_said(folder: Path, tmp_path: Path, role: str, script: str) -> None:
    """In an environment that sees all our libraries, and has no commands of its own."""
    venv.create(tmp_path, symlinks=True)
    (site_packages,) = tmp_path.glob("lib/python3*/site-packages")
    (site_packages / "all.pth").write_text(f"{ROOT / 'node'}\n{sysconfig.get_path('purelib')}\n")
    line = line_of(script, cwd=folder / role, PYTHON=str(tmp_path / "bin" / "python3"))
    assert f": Flower is not installed for {tmp_path}/bin/python3, which is Python 3." in line
    assert line.endswith("Python 3.11 or later: pip install flwr -c constraints.txt")


@needs_flower
@pytest.mark.parametrize(
    "path", ["/a b/c.yaml", "/it's/c", '/say "x" \\"', "/back\\slash\\", "/ü 🎙=1", "/\t"]
)
def test_any_path_reaches_the_app(path: str) -> None:
    from flwr.common.config import parse_config_args

    told = {"name": "env_one", "envoy-config": path, "superlink": "[::1]:50050"}
    assert parse_config_args([_in_toml(told)]) == told
