"""Where the director may listen, and with what certificates."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from certificates.authority import now
from certificates.federation import make_certificates
from director_certificates import CertificateError, Certificates
from director_listening import ListeningRefused, is_loopback, require_guarded

DIRECTOR = Path(__file__).resolve().parents[2] / "director"


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certs")
    make_certificates(folder, hosts=["gpu1.example.org", "192.0.2.7"])
    return folder


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "::1"])
def test_plain_text_stays_on_the_loopback(host: str) -> None:
    assert is_loopback(host)
    require_guarded(host, None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "no-such-host.invalid"])
def test_plain_text_beyond_it_is_refused_unless_allowed_by_name(host: str) -> None:
    with pytest.raises(
        ListeningRefused, match=rf"this machine only, and {host} .*--insecure-allow-plaintext"
    ):
        require_guarded(host, None)
    require_guarded(host, None, plaintext_allowed=True)


def test_with_tls_the_host_is_one_of_the_certificate(certs: Path) -> None:
    certificates = Certificates.in_folder(certs / "director")
    for host in ("GPU1.example.org", "192.0.2.7", "localhost", "0.0.0.0"):
        require_guarded(host, certificates)
    with pytest.raises(
        CertificateError, match=r"is for gpu1.example.org, .*, not gpu2; make certs HOST=gpu2"
    ):
        require_guarded("gpu2", certificates)


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match=r"root_certificate.pem is missing; make certs makes them"):
        Certificates.in_folder(tmp_path / "nowhere")
    make_certificates(tmp_path, days=1, starts=now() - timedelta(days=2))
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
    ("command", "message"),
    [
        (["director_service.py"], "without TLS the director listens on this machine only, and 0.0.0.0"),
        (["director_service.py", "--certificates", "nowhere"], "no certificates in nowhere"),
    ],
)
def test_the_service_refuses_in_one_line(tmp_path: Path, command: list[str], message: str) -> None:
    result = subprocess.run(
        [sys.executable, *command], cwd=DIRECTOR, env={"DIRECTOR_HOST": "0.0.0.0", "HOME": str(tmp_path)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"director: {message}")
