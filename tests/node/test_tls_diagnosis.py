"""Why TLS stands between a node and its director, as the envoy and the notebook tell it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from certificates.authority import issue, new_authority
from certificates.federation import make_certificates
from certificates.folder import pair_in, publish
from superb_node.certificates import CERTIFICATE, PRIVATE_KEY, ROOT_CERTIFICATE
from superb_node.envoy.refusals import MAX_CLOSED_CONNECTIONS, RefusalDetector, ShardRefused
from superb_node.tls_diagnosis import NO_REASON, why_refused
from tests.support.earlier import days_ago


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    make_certificates(folder, envoys=["env_one"])
    ours = pair_in(folder / "authority")
    with days_ago(9):
        publish(folder / "expired", issue(ours, "envoy", "env_one", days=1), ours.certificate)
    stranger = new_authority()
    publish(folder / "foreign", issue(stranger, "envoy", "env_one"), ours.certificate)
    publish(folder / "elsewhere", issue(stranger, "envoy", "env_one"), stranger.certificate)
    return folder


def files(folder: Path) -> tuple[Path, Path, Path]:
    return folder / ROOT_CERTIFICATE, folder / CERTIFICATE, folder / PRIVATE_KEY


@pytest.fixture(scope="module")
def ports(folder: Path) -> Iterator[dict[str, int]]:
    """A gRPC server for each kind of certificate, and one without TLS; a port on which nobody listens."""
    servers: list[grpc.Server] = []
    ports: dict[str, int] = {}
    for role in ("director", "env_one", "plain"):
        server = grpc.server(ThreadPoolExecutor(1))
        if role == "plain":
            ports[role] = server.add_insecure_port("localhost:0")
        else:
            root, own, key = (path.read_bytes() for path in files(folder / role))
            credentials = grpc.ssl_server_credentials([(key, own)], root, require_client_auth=True)
            ports[role] = server.add_secure_port("localhost:0", credentials)
        server.start()
        servers.append(server)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        ports["nobody"] = free.getsockname()[1]
    yield ports
    for server in servers:
        server.stop(None).wait()


@pytest.mark.parametrize(
    ("server", "certificates", "words"),
    [
        ("director", "env_one", ""),
        ("director", "notebook", ""),
        ("director", None, "it speaks TLS only, and we speak without"),
        ("director", "expired", "our certificate expired on "),
        ("director", "foreign", "another authority signed our certificate"),
        ("director", "elsewhere", "we do not accept its certificate: unable to get local issuer certificate"),
        ("env_one", "env_one", "we do not accept its certificate: "),
        ("plain", "env_one", "it does not speak TLS, and we do"),
        ("plain", None, ""),
        ("nobody", "env_one", ""),
        ("nobody", None, ""),
    ],
)
def test_why_tls_refuses(
    folder: Path, ports: dict[str, int], server: str, certificates: str | None, words: str
) -> None:
    """An envoy that poses as a director is not accepted either: its certificate serves no server."""
    own = None if certificates is None else files(folder / certificates)
    reason = why_refused("localhost", ports[server], own)
    assert reason.startswith(words)
    assert bool(reason) == bool(words)


class Error(grpc.RpcError):
    def __init__(self, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> None:
        super().__init__()
        self.code = lambda: code
        self.details = lambda: "because"


def test_an_envoy_gives_up_where_it_is_refused_only(
    folder: Path, ports: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    away = RefusalDetector("localhost", ports["nobody"], files(folder / "env_one"))
    for _ in range(3 * MAX_CLOSED_CONNECTIONS):
        away.raise_if_refused(Error())
    with pytest.raises(ShardRefused, match="^the director refused: because$"):
        away.raise_if_refused(Error(grpc.StatusCode.PERMISSION_DENIED))
    with pytest.raises(ShardRefused, match=r"^no way to .* at localhost:\d+: our certificate expired"):
        RefusalDetector("localhost", ports["director"], files(folder / "expired")).raise_if_refused(Error())


def test_an_address_of_ipv6_stands_in_brackets(folder: Path) -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    root, own, key = (path.read_bytes() for path in files(folder / "director"))
    credentials = grpc.ssl_server_credentials([(key, own)], root, require_client_auth=True)
    port = server.add_secure_port("[::1]:0", credentials)
    server.start()
    try:
        RefusalDetector("[::1]", port, files(folder / "env_one")).raise_if_refused(Error())
        with pytest.raises(ShardRefused, match=r"^no way to .* at \[::1\]:\d+: our certificate expired"):
            RefusalDetector("[::1]", port, files(folder / "expired")).raise_if_refused(Error())
    finally:
        server.stop(None).wait()


def test_a_director_that_closes_connections_may_be_stopping(monkeypatch: pytest.MonkeyPatch) -> None:
    reasons = iter([NO_REASON] * (MAX_CLOSED_CONNECTIONS - 1) + [""])
    monkeypatch.setattr("superb_node.envoy.refusals.why_refused", lambda *_: next(reasons, NO_REASON))
    detector = RefusalDetector("localhost", 1, None)
    for _ in range(2 * MAX_CLOSED_CONNECTIONS - 1):
        detector.raise_if_refused(Error())
    with pytest.raises(ShardRefused, match="its log says why"):
        detector.raise_if_refused(Error())
