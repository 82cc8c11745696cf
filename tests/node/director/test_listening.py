"""Where the director may listen, and with what certificates."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from certificates.federation import make_certificates
from superb_node.certificates import CertificateError, Certificates
from superb_node.director.listening import require_tls_or_loopback
from superb_node.loopback import HostRefused, in_uri, is_loopback, legal_host
from tests.support.earlier import days_ago

DIRECTOR = Path(__file__).resolve().parents[3] / "director"


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certs")
    make_certificates(folder, hosts=["gpu1.example.org", "192.0.2.7", "127.0.1.1"])
    return folder


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "::1"])
def test_plain_text_stays_on_the_loopback(host: str) -> None:
    assert is_loopback(host)
    require_tls_or_loopback(host, None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7"])
def test_plain_text_beyond_it_is_refused_unless_allowed_by_name(
    host: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(HostRefused, match=rf"this machine only, and {host} .*--insecure-allow-plaintext"):
        require_tls_or_loopback(host, None)
    assert caplog.messages == []
    require_tls_or_loopback(host, None, plaintext_allowed=True)
    (said,) = caplog.records
    assert said.levelname == "WARNING" and "no caller's identity is checked" in said.getMessage()


def test_with_tls_the_host_is_one_of_the_certificate(certs: Path) -> None:
    certificates = Certificates.in_folder(certs / "director")
    for host in ("GPU1.example.org", "192.0.2.7", "localhost", "0.0.0.0"):
        require_tls_or_loopback(host, certificates)
    hint = r"make certs HOST='gpu1.example.org 192.0.2.7 127.0.1.1 gpu2' CERTS_OPTIONS='--force director'$"
    with pytest.raises(CertificateError, match=rf"is for gpu1.example.org, .*, not gpu2; {hint}"):
        require_tls_or_loopback("gpu2", certificates)


def test_a_machine_that_calls_itself_by_the_loopback_is_warned(
    certs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    certificates = Certificates.in_folder(certs / "director")
    require_tls_or_loopback("127.0.0.1", certificates)
    assert caplog.messages == []
    require_tls_or_loopback("127.0.1.1", certificates)  # what some systems have for their own name
    (said,) = caplog.messages
    assert said.startswith("127.0.1.1 is of the loopback here: other machines cannot reach it")


@pytest.mark.parametrize("allowed", [False, True])
def test_a_misspelt_name_is_told_from_another_machine(allowed: bool) -> None:
    with pytest.raises(HostRefused, match=r"^no such host: no-such-host\.invalid \(.+\)\. DIRECTOR_HOST"):
        require_tls_or_loopback("no-such-host.invalid", None, allowed)


@pytest.mark.parametrize(
    ("host", "in_address"),
    [
        ("localhost", "localhost"),
        ("0.0.0.0", "0.0.0.0"),
        ("::", "[::]"),
        ("[::1]", "[::1]"),
        ("gpu_1", "gpu_1"),
    ],
)
def test_names_and_addresses_are_hosts(host: str, in_address: str) -> None:
    assert in_uri(legal_host(host)) == in_address


@pytest.mark.parametrize(
    "host",
    [
        "http://localhost", "localhost:50050", "[::1]:50050", "localhost.", "localhost/", "me@gpu1", " ",
        "gpu1 gpu2", "50050", "192.0.2.999", "[gpu1]",
    ],
)  # fmt: skip
def test_what_is_no_host_is_said_in_one_line(host: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "superb_node.director"], cwd=DIRECTOR, env={"DIRECTOR_HOST": host},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.returncode == 2
    assert result.stderr == (
        f"director: listen_host (or DIRECTOR_HOST) is {host!r}, which is not a host name; legal: a name "
        "such as gpu1.example.org or an address such as 192.0.2.7 or ::1, and DIRECTOR_PORT has the port\n"
    )


@pytest.mark.parametrize("value", [None, 7, "", ["localhost"], True])
def test_a_listen_host_that_is_no_text_is_refused(value: object) -> None:
    with pytest.raises(HostRefused, match="which is not a host name"):
        legal_host(value, "listen_host is ")


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match=r"root_certificate.pem is missing; make certs makes them"):
        Certificates.in_folder(tmp_path / "nowhere")
    with days_ago(2):
        make_certificates(tmp_path, days=1)
    with pytest.raises(CertificateError, match=r"certificate.pem expired on \d+-\d+-\d+"):
        Certificates.in_folder(tmp_path / "director")
    (tmp_path / "director" / "private_key.pem").chmod(0o640)
    with pytest.raises(CertificateError, match=r"may be read by others \(mode 640\): chmod 600"):
        Certificates.in_folder(tmp_path / "director")


def test_a_certificate_that_ends_soon_is_announced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_certificates(tmp_path, days=10.5)
    Certificates.in_folder(tmp_path / "director")
    assert caplog.messages == ["The certificate of director expires in 10 days"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "without TLS the director listens on this machine only, and 0.0.0.0"),
        (["--certificates", "nowhere"], "no certificates in nowhere"),
    ],
)
def test_the_service_refuses_in_one_line(tmp_path: Path, options: list[str], message: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "superb_node.director", *options],
        cwd=DIRECTOR, env={"DIRECTOR_HOST": "0.0.0.0", "HOME": str(tmp_path)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"director: {message}")
