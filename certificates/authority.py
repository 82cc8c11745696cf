"""The certificate authority of a federation: makes itself, and signs what nodes are known by.

OpenFL's own functions (`openfl.cryptography`) do not serve: what they sign loses its key usage, so that an
envoy's certificate would pass for the director's, and has neither addresses nor a second host name.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from superb_node.certificates import DIRECTOR, SPIFFE_DOMAIN, CertificateError
from superb_node.loopback import bare

NODE_DAYS, AUTHORITY_DAYS = 365, 3650
# Clocks of two hosts differ.
_CLOCK_SKEW = timedelta(minutes=5)
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True)
class Pair:
    """A certificate and the private key that belongs to it."""

    certificate: x509.Certificate
    private_key: ec.EllipticCurvePrivateKey  # as strong as RSA of 3072 bits, made in a thousandth of the time


def now() -> datetime:
    """Return the time in UTC."""
    return datetime.now(timezone.utc)


def new_authority() -> Pair:
    """Make an authority that is valid for `AUTHORITY_DAYS` from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    # A number of its own in the name, to tell two authorities apart.
    subject = _subject(f"Federation authority {x509.random_serial_number() % 10**8:08d}")
    builder = (
        _builder(subject, subject, key.public_key(), AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    return Pair(builder.sign(key, hashes.SHA256()), key)


def issue(authority: Pair, role: str, name: str, hosts: Sequence[str] = (), days: float = NODE_DAYS) -> Pair:
    """Make a key, and a certificate that the authority signs.

    A director's certificate serves a server only, all others a client only: an envoy's cannot pass
    for the director's.

    Args:
        authority: signs.
        role: "director", "user" or "envoy"; it is in the certificate as part of a SPIFFE id.
        name: the certificate's common name, which OpenFL compares with the envoy's.
        hosts: of a director: names and addresses under which it is dialled.
        days: how long it is valid, from now.

    Raises:
        CertificateError: a host or `days` is illegal, or the certificate would outlive its authority.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    serves = ExtendedKeyUsageOID.SERVER_AUTH if role == DIRECTOR else ExtendedKeyUsageOID.CLIENT_AUTH
    authority_ends = authority.certificate.not_valid_after_utc
    if now() + timedelta(days=_legal_days(days)) > authority_ends:
        raise CertificateError(
            f"{days:g} days for {name} are more than the authority has, to {authority_ends:%Y-%m-%d}; "
            "choose fewer, or make a new authority in another folder"
        )
    # gRPC shows it to a service as `peer_spiffe_id`: a role is checked without parsing a certificate.
    identity = x509.UniformResourceIdentifier(f"{SPIFFE_DOMAIN}{role}/{name}")
    signed_by = authority.private_key.public_key()
    builder = (
        _builder(_subject(name), authority.certificate.subject, key.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([serves]), critical=False)
        .add_extension(x509.SubjectAlternativeName([identity, *host_entries(hosts)]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signed_by), critical=False)
    )
    return Pair(builder.sign(authority.private_key, hashes.SHA256()), key)


def host_entries(hosts: Sequence[str]) -> list[x509.GeneralName]:
    """Return the entries of a certificate for host names and addresses, each once.

    Raises:
        CertificateError: one is neither a host name nor an address that can be dialled.
    """
    return [_host_entry(host) for host in dict.fromkeys(bare(host.lower()) for host in hosts)]


def _host_entry(host: str) -> x509.GeneralName:
    legal = "legal: a name such as director.example.org or an address such as 192.0.2.7"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        labels = host.split(".")
        if len(host) > 253 or not all(map(_LABEL.fullmatch, labels)) or labels[-1].isdigit():
            raise CertificateError(f"host {host!r}: {legal}") from None
        return x509.DNSName(host)
    if address.is_unspecified or address.is_multicast:
        raise CertificateError(f"host {host!r} is no address that anybody can dial; {legal}")
    return x509.IPAddress(address)


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: float
) -> x509.CertificateBuilder:
    starts = now()
    return (
        x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(starts - _CLOCK_SKEW)
        .not_valid_after(starts + timedelta(days=_legal_days(days)))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _legal_days(days: float) -> float:
    if not 0 < days <= AUTHORITY_DAYS:
        raise CertificateError(f"a lifetime of {days:g} days; legal: above 0 to {AUTHORITY_DAYS}")
    return days


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
