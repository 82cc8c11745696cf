"""The certificates of a federation: what is made, kept, added, renewed and refused."""

from __future__ import annotations

import errno
import ipaddress
import itertools
import os
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from certificates.authority import AUTHORITY_DAYS
from certificates.federation import Entry, list_certificates, make_certificates, renew_certificates
from certificates.folder import pair_in, publish
from superb_node.certificates import CertificateError
from tests.support.earlier import days_ago

FILES = ["certificate.pem", "private_key.pem", "root_certificate.pem"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "certs"


def make(folder: Path, **changes: object) -> dict[str, Entry]:
    asked = {"hosts": ["gpu1.example.org", "10.0.0.5"], "envoys": ["env_one", "env_two"], **changes}
    return {entry.name: entry for entry in make_certificates(folder, **asked)}


def certificate(folder: Path, name: str = "certificate.pem") -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / name).read_bytes())


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.pem")}


def verified_as_server(node: Path, host: x509.DNSName | x509.IPAddress) -> list[x509.Certificate]:
    store = Store([certificate(node, "root_certificate.pem")])
    return PolicyBuilder().store(store).build_server_verifier(host).verify(certificate(node), [])


def test_a_node_has_all_it_needs_in_one_folder_that_only_its_owner_reads(folder: Path) -> None:
    make(folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["authority", "director", "notebook", "env_one", "env_two"]
    )
    root = (folder / "authority" / "certificate.pem").read_bytes()
    for name in ("director", "notebook", "env_one", "env_two"):
        node = folder / name
        assert sorted(path.name for path in node.iterdir()) == FILES
        assert (node / "root_certificate.pem").read_bytes() == root
        key = load_pem_private_key((node / "private_key.pem").read_bytes(), None)
        assert key.public_key() == certificate(node).public_key()
    assert sorted(path.name for path in (folder / "authority").iterdir()) == FILES[:2]
    for each in [folder, *folder.iterdir()]:
        assert stat.S_IMODE(each.stat().st_mode) == 0o700, each
    for key_file in folder.glob("*/private_key.pem"):
        assert stat.S_IMODE(key_file.stat().st_mode) == 0o600, key_file


def test_names_roles_and_hosts_are_in_the_certificates(folder: Path) -> None:
    entries = make(folder, user="alice")
    roles = {"director": "director", "alice": "user", "env_one": "envoy", "env_two": "envoy"}
    assert {name: entry.role for name, entry in entries.items()} == {"authority": "authority", **roles}
    for name, role in roles.items():
        made = certificate(folder / name)
        (common_name,) = made.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        assert common_name.value == name
        names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        assert uris == [f"spiffe://superb-ks/{role}/{name}"]
        hosts = names.get_values_for_type(x509.DNSName)
        assert hosts == (["gpu1.example.org", "localhost"] if role == "director" else [])
        addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
        assert addresses == (["10.0.0.5", "127.0.0.1", "::1"] if role == "director" else [])


def test_the_director_is_verified_by_each_of_its_hosts_and_no_other(folder: Path) -> None:
    make(folder)
    for host in ("gpu1.example.org", "localhost"):
        assert verified_as_server(folder / "director", x509.DNSName(host))
    assert verified_as_server(folder / "director", x509.IPAddress(ipaddress.ip_address("10.0.0.5")))
    with pytest.raises(VerificationError):
        verified_as_server(folder / "director", x509.DNSName("gpu2.example.org"))


def test_an_envoy_cannot_stand_in_for_the_director_nor_sign(folder: Path) -> None:
    make(folder)
    for name in ("env_one", "notebook", "director"):
        extensions = certificate(folder / name).extensions
        usage = extensions.get_extension_for_class(x509.ExtendedKeyUsage)
        right = ExtendedKeyUsageOID.SERVER_AUTH if name == "director" else ExtendedKeyUsageOID.CLIENT_AUTH
        assert list(usage.value) == [right]
        assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        assert not extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign


def test_lifetimes_and_warnings(folder: Path) -> None:
    entries = make(folder, days=20)
    assert entries["env_one"].days_left == pytest.approx(20, abs=0.01)
    assert entries["env_one"].warning == "expires soon"
    assert entries["authority"].days_left == pytest.approx(AUTHORITY_DAYS, abs=0.01)
    assert entries["authority"].warning == ""
    with pytest.raises(CertificateError, match=r"3650 days for env_three are more than the authority has"):
        make(folder, envoys=["env_three"], days=AUTHORITY_DAYS)
    assert not (folder / "env_three").exists()


def test_keys_that_a_killed_command_left_are_removed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(folder)
    before = contents(folder)
    kill_at_rename(folder, monkeypatch, "env_one", number=1)
    assert list(folder.glob(".*/*/private_key.pem"))
    assert contents(folder).items() >= before.items(), "what was there is there still"
    make(folder, envoys=["env_one", "env_three"])
    assert not list(folder.glob(".*"))


def test_a_key_that_a_killed_command_had_taken_away_is_put_back(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(folder)
    before = contents(folder)
    kill_at_rename(folder, monkeypatch, "env_one", number=2)
    assert not (folder / "env_one").exists()
    make(folder, envoys=["env_three"])
    assert contents(folder).items() >= before.items()
    assert not list(folder.glob(".*"))


def test_a_key_is_put_back_where_the_new_one_cannot_be_put_in_its_place(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(folder)
    before = contents(folder)
    rename, calls = os.rename, itertools.count(1)

    def full(source: Path, target: Path) -> None:
        if next(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        rename(source, target)

    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(CertificateError, match="cannot be written: No space left"):
        publish(folder / "env_one", pair_in(folder / "env_one"), certificate(folder / "env_one"))
    assert contents(folder) == before


def kill_at_rename(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
    """Publish a new pair for `name` in a process that ends, as by SIGKILL, instead of one of its renames."""
    child = os.fork()
    if child == 0:
        rename, calls = os.rename, itertools.count(1)
        with monkeypatch.context() as patch:
            patch.setattr(os, "rename", lambda *of: os._exit(9) if next(calls) == number else rename(*of))
            try:
                publish(folder / name, pair_in(folder / name), certificate(folder / name))
            finally:
                os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def test_an_expired_one_can_be_made_and_is_shown_as_such(folder: Path) -> None:
    make(folder)
    with days_ago(2):
        make(folder, user="late", envoys=[], days=1)
    listed = {entry.name: entry for entry in list_certificates(folder)}
    assert next(iter(listed)) == "authority"
    assert listed["late"].warning == "EXPIRED"
    assert listed["late"].days_left == pytest.approx(-1, abs=0.01)
    assert listed["notebook"].warning == ""


def test_nothing_is_overwritten_without_force(folder: Path) -> None:
    make(folder)
    before = contents(folder)
    assert not any(entry.made for entry in make(folder).values())
    assert contents(folder) == before
    renewed = renew_certificates(folder, ["director", "notebook", "env_one"])
    assert [entry.name for entry in renewed if entry.made] == ["director", "notebook", "env_one"]
    after = contents(folder)
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {
        f"{node}/{file}"
        for node in ("director", "notebook", "env_one")
        for file in ("certificate.pem", "private_key.pem")
    }
    assert not list(folder.glob(".[!l]*"))


def test_a_further_envoy_is_added_with_the_same_authority(folder: Path) -> None:
    make(folder)
    before = contents(folder)
    entries = make(folder, hosts=[], envoys=["env_three"])
    assert [name for name, entry in entries.items() if entry.made] == ["env_three"]
    after = contents(folder)
    assert {name: after[name] for name in before} == before
    assert after["env_three/root_certificate.pem"] == before["authority/certificate.pem"]
    certificate(folder / "env_three").verify_directly_issued_by(certificate(folder / "authority"))


def test_two_authorities_do_not_pass_for_each_other(folder: Path, tmp_path: Path) -> None:
    make(folder)
    make(tmp_path / "other", envoys=["env_one"])
    ours, theirs = certificate(folder / "authority"), certificate(tmp_path / "other" / "authority")
    assert ours.subject != theirs.subject
    (folder / "env_one" / "certificate.pem").write_bytes(
        (tmp_path / "other" / "env_one" / "certificate.pem").read_bytes()
    )
    with pytest.raises(
        CertificateError, match="env_one is of another authority; --force env_one makes a new one"
    ):
        make(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"envoys": ["../env"]}, r"name '\.\./env'; legal: a letter, then up to 62"),
        ({"envoys": ["env one"]}, "name 'env one'; legal"),
        ({"user": ""}, "name ''; legal"),
        ({"envoys": ["env_one", "Env_One"]}, "name 'Env_One' is that of another envoy already"),
        ({"envoys": ["notebook"]}, "name 'notebook' is that of the user already"),
        ({"envoys": ["director"]}, "name 'director' is that of the director already"),
        (
            {"envoys": ["all"]},
            "envoy name 'all' is reserved; legal: any but aggregator, all,",
        ),
        ({"user": "authority"}, "name 'authority' is that of the authority already"),
        ({"hosts": ["a b"]}, "host 'a b': legal: a name such as"),
        ({"hosts": ["https://gpu1"]}, "host 'https://gpu1': legal"),
        ({"hosts": ["gpu1:50050"]}, "host 'gpu1:50050': legal"),
        ({"hosts": ["me@gpu1"]}, "host 'me@gpu1': legal"),
        ({"hosts": ["gpu1."]}, r"host 'gpu1\.': legal"),
        ({"hosts": ["gpu1/"]}, "host 'gpu1/': legal"),
        ({"hosts": ["[::1]:50050"]}, r"host '\[::1\]:50050': legal"),
        ({"hosts": ["10.0.0.999"]}, r"host '10\.0\.0\.999': legal"),
        ({"hosts": ["*.example.org"]}, "legal: a name such as"),
        ({"hosts": ["0.0.0.0"]}, r"host '0\.0\.0\.0' is no address that anybody can dial"),
        ({"days": 0}, "a lifetime of 0 days; legal: above 0 to 3650"),
        ({"days": AUTHORITY_DAYS + 1}, "a lifetime of 3651 days; legal: above 0 to 3650"),
        ({"days": float("nan")}, "a lifetime of nan days"),
    ],
)
def test_mistakes_are_named_and_leave_nothing(folder: Path, changes: dict, message: str) -> None:
    with pytest.raises(CertificateError, match=message) as mistake:
        make(folder, **changes)
    assert "\n" not in str(mistake.value)
    assert not folder.exists()


def test_a_host_that_the_kept_certificate_lacks_is_named(folder: Path) -> None:
    make(folder, hosts=["gpu1"])
    with pytest.raises(CertificateError, match=r"director is not for host gpu2, only for gpu1, localhost"):
        make(folder, hosts=["gpu2"])
    make(folder, hosts=["GPU1", "0:0:0:0:0:0:0:1", "[::1]"])  # other ways to write what it has
    before = contents(folder)
    renew_certificates(folder, ["director"], hosts=["gpu2"])
    after = contents(folder)
    assert {name.split("/")[0] for name in before if after[name] != before[name]} == {"director"}
    assert verified_as_server(folder / "director", x509.DNSName("gpu2"))


def test_a_name_keeps_its_role(folder: Path) -> None:
    make(folder)
    with pytest.raises(CertificateError, match="env_one is of role 'envoy', not 'user'"):
        make(folder, user="env_one", envoys=[])


def test_without_an_authority_nothing_is_signed(folder: Path) -> None:
    make(folder)
    (folder / "authority").rename(folder.parent / "kept_elsewhere")
    with pytest.raises(CertificateError, match="but their authority is not in .*/authority to sign"):
        make(folder, envoys=["env_three"])
    (folder.parent / "kept_elsewhere").rename(folder / "authority")
    (folder / "authority" / "private_key.pem").unlink()
    with pytest.raises(CertificateError, match=r"authority/private_key.pem cannot be read: No such file"):
        make(folder, envoys=["env_three"])


def test_each_federation_has_its_own_authority_outside_of_what_travels(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    for name in ("one", "two"):
        assert make(tmp_path / name, authorities=kept)["authority"].made
        assert not list(tmp_path.glob("*/authority"))
    assert len(list(kept.iterdir())) == 2
    assert {stat.S_IMODE(path.stat().st_mode) for path in [kept, *kept.iterdir()]} == {0o700}
    (tmp_path / "one").rename(tmp_path / "moved")
    before = contents(tmp_path / "moved")
    entries = make(tmp_path / "moved", authorities=kept, envoys=["env_three"])
    assert not entries["authority"].made
    assert contents(tmp_path / "moved").items() > before.items()
    roots = {path.read_bytes() for path in (tmp_path / "moved").glob("*/root_certificate.pem")}
    assert len(roots) == 1
    (own,) = [path.parent for path in kept.glob("*/certificate.pem") if path.read_bytes() in roots]
    assert next(iter(list_certificates(tmp_path / "moved", kept))).role == "authority"
    renew_certificates(tmp_path / "moved", ["env_three"], authorities=kept)
    own.rename(tmp_path / "elsewhere")
    assert next(iter(list_certificates(tmp_path / "moved", kept))).role == "director"
    with pytest.raises(CertificateError, match=rf"their authority is not in {own} to sign more"):
        make(tmp_path / "moved", authorities=kept, envoys=["env_four"])


def test_one_that_is_next_to_the_nodes_is_still_used(folder: Path) -> None:
    make(folder)
    entries = make(folder, authorities=folder.parent / "kept", envoys=["env_three"])
    assert not entries["authority"].made
    assert not (folder.parent / "kept").exists()
    certificate(folder / "env_three").verify_directly_issued_by(certificate(folder / "authority"))


def test_a_damaged_authority_is_named(folder: Path) -> None:
    make(folder)
    key = folder / "authority" / "private_key.pem"
    key.write_bytes((folder / "env_one" / "private_key.pem").read_bytes())
    with pytest.raises(CertificateError, match="does not belong to the certificate next to it"):
        make(folder, envoys=["env_three"])
    key.write_text("no key")
    with pytest.raises(CertificateError, match="is not an unencrypted private key in PEM format"):
        make(folder, envoys=["env_three"])
    (folder / "authority" / "certificate.pem").write_text("no certificate")
    with pytest.raises(CertificateError, match="is not a certificate in PEM format"):
        make(folder, envoys=["env_three"])


def test_an_expired_authority_signs_nothing(folder: Path) -> None:
    with days_ago(AUTHORITY_DAYS + 1):
        make(folder, days=1)
    for ask in (lambda: make(folder, envoys=["env_three"]), lambda: renew_certificates(folder)):
        with pytest.raises(CertificateError, match="the authority in .* has expired; make a new one"):
            ask()
