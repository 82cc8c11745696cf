"""Which director an envoy may serve, and with what certificates."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from certificates.federation import make_certificates
from superb_node.certificates import CertificateError, Certificates
from superb_node.envoy.dialling import require_tls_or_loopback
from superb_node.loopback import HostRefused, in_uri, legal_host
from tests.support.earlier import days_ago

ENVOY = Path(__file__).resolve().parents[3] / "envoy"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_a_director_on_this_machine_is_served_without_tls(host: str) -> None:
    require_tls_or_loopback("env_one", host, None)


@pytest.mark.parametrize("host", ["192.0.2.7", "2001:db8::7"])
def test_one_on_another_is_not_unless_allowed_by_name(host: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(HostRefused, match=rf"this machine only, and {host} .*--insecure-allow-plaintext"):
        require_tls_or_loopback("env_one", host, None)
    assert caplog.messages == []
    require_tls_or_loopback("env_one", host, None, plaintext_allowed=True)
    (said,) = caplog.records
    assert said.levelname == "WARNING" and f"the identity of {host} is not checked" in said.getMessage()


def test_a_misspelt_name_is_told_from_another_machine(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(HostRefused, match=r"^no such host: no-such-host\.invalid \(.+\)$"):
        require_tls_or_loopback("env_one", "no-such-host.invalid", None)
    # Where others may be called, the name may be known later than the envoy starts.
    require_tls_or_loopback("env_one", "no-such-host.invalid", None, plaintext_allowed=True)
    assert caplog.messages[-1].startswith("no such host: no-such-host.invalid (")
    assert caplog.messages[-1].endswith("; is it spelt right? Trying all the same")


HOSTS = {
    "localhost": "localhost", "gpu1.example.org": "gpu1.example.org", "director_1": "director_1",
    "10.77.0.1": "10.77.0.1", "::1": "[::1]", "[::1]": "[::1]", "[2001:db8::7]": "[2001:db8::7]",
}  # fmt: skip
NO_HOSTS = [
    "http://localhost", "localhost:50050", "[::1]:50050", "localhost.", "localhost/", "me@gpu1", "", " ",
    " localhost", "gpu1 gpu2", "50050", "192.0.2.999", "[gpu1]", "-gpu1", "gpu1\n", "bücher.example",
    "a" * 64,
]  # fmt: skip


@pytest.mark.parametrize(("host", "in_address"), HOSTS.items())
def test_names_and_addresses_are_hosts(host: str, in_address: str) -> None:
    assert in_uri(legal_host(host)) == in_address


@pytest.mark.parametrize("host", NO_HOSTS)
def test_what_is_no_host_is_said_in_one_line(host: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "superb_node.envoy", f"--director-host={host}"], cwd=ENVOY,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.returncode == 2
    assert result.stderr == (
        f"envoy: {host!r} is not a host name; legal: a name such as gpu1.example.org or an address "
        "such as 192.0.2.7 or ::1, and DIRECTOR_PORT has the port\n"
    )


def test_the_certificate_is_for_the_envoys_own_name(tmp_path: Path) -> None:
    make_certificates(tmp_path, envoys=["env_one"])
    certificates = Certificates.in_folder(tmp_path / "env_one")
    require_tls_or_loopback("env_one", "192.0.2.7", certificates)
    with pytest.raises(CertificateError, match=r"certificate.pem is for env_one, not for env_two"):
        require_tls_or_loopback("env_two", "192.0.2.7", certificates)


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match=r"root_certificate.pem is missing; make certs makes them"):
        Certificates.in_folder(tmp_path / "nowhere")
    with days_ago(2):
        make_certificates(tmp_path, envoys=["env_one"], days=1)
    with pytest.raises(CertificateError, match=r"certificate.pem expired on \d+-\d+-\d+"):
        Certificates.in_folder(tmp_path / "env_one")
    (tmp_path / "env_one" / "private_key.pem").chmod(0o604)
    with pytest.raises(CertificateError, match=r"may be read by others \(mode 604\): chmod 600"):
        Certificates.in_folder(tmp_path / "env_one")


def test_the_service_refuses_in_one_line() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "superb_node.envoy", "--director-host", "192.0.2.7"], cwd=ENVOY,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("envoy: without TLS the envoy calls this machine only, and 192.0.2.7 is another: ")


@pytest.mark.parametrize("script", ["start_envoy_with_tls.sh", "../director/start_director_with_tls.sh"])
def test_a_script_without_its_arguments_says_how_it_is_called(script: str) -> None:
    result = subprocess.run(["bash", script], cwd=ENVOY, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert f"bash {Path(script).name} " in result.stderr
