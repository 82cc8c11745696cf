"""Who a certificate is for: roles, names and hosts, checked before anything is made."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from cryptography import x509

DIRECTOR, USER, ENVOY = "director", "user", "envoy"
AUTHORITY = "authority"

#: Names become folder names, and an envoy's is what the services compare with its certificate.
NAME_PATTERN = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}")
# Every director can be reached from its own machine by these.
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")

_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_ORDINALS = "one two three four five six seven eight nine ten".split()
_TRUST_DOMAIN = "superb-ks"


class CertificateError(ValueError):
    """Certificates cannot be made or read as asked; the message names what is wrong and what is legal."""


def identity(role: str, name: str) -> x509.UniformResourceIdentifier:
    """Return what says in a certificate whose it is, as a SPIFFE id: ``spiffe://superb-ks/envoy/env_one``.

    gRPC shows it to a service as the property ``peer_spiffe_id`` of a call, so that a role can be checked
    without parsing a certificate.
    """
    return x509.UniformResourceIdentifier(f"spiffe://{_TRUST_DOMAIN}/{role}/{name}")


def role_of(certificate: x509.Certificate) -> str:
    """Return the role that :func:`identity` wrote into a certificate; empty if there is none."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ""
    start = f"spiffe://{_TRUST_DOMAIN}/"
    for uri in names.get_values_for_type(x509.UniformResourceIdentifier):
        if uri.startswith(start):
            return uri[len(start) :].partition("/")[0]
    return ""


def hosts_of(certificate: x509.Certificate) -> list[str]:
    """Return the host names and addresses that a certificate is for."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]


def host_entries(hosts: Sequence[str]) -> list[x509.GeneralName]:
    """Return the entries of a certificate for host names and addresses, each once.

    Raises:
        CertificateError: one is neither a host name nor an address that can be dialled.
    """
    return [_host_entry(host) for host in dict.fromkeys(_bare(host.lower()) for host in hosts)]


def _bare(host: str) -> str:
    """Return a host without the brackets in which an IPv6 address may stand."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def _host_entry(host: str) -> x509.GeneralName:
    legal = "legal are a name such as director.example.org or an address such as 192.0.2.7"
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


def require_names(user: str, envoys: Sequence[str]) -> None:
    """Make sure that user and envoys can be called so.

    Raises:
        CertificateError: a name is illegal, reserved, or given twice.
    """
    seen = {AUTHORITY: "the authority", DIRECTOR: "the director"}
    for name in (user, *envoys):
        if not NAME_PATTERN.fullmatch(name):
            raise CertificateError(
                f"name {name!r}: legal are a letter, then up to 62 letters, digits, '-' or '_'"
            )
        # Some file systems take folders whose names differ in case alone for one.
        if name.lower() in seen:
            raise CertificateError(f"name {name!r} is that of {seen[name.lower()]} already; choose another")
        seen[name.lower()] = "the user" if name == user else "another envoy"


def envoy_names(names: Sequence[str]) -> list[str]:
    """Return the envoys' names; a number alone stands for so many, called as ``make demo`` calls them."""
    if len(names) == 1 and names[0].isdigit():
        count = int(names[0])
        if not 1 <= count <= 1000:
            raise CertificateError(f"{count} envoys; legal are 1 to 1000, or their names")
        return [f"env_{_ORDINALS[rank] if rank < len(_ORDINALS) else rank + 1}" for rank in range(count)]
    return list(names)
