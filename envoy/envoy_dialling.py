"""Which director an envoy may serve: one on this machine, unless by TLS or where its owner says otherwise."""

from __future__ import annotations

import ipaddress
import logging
import re
import socket

from envoy_certificates import CertificateError, Certificates

logger = logging.getLogger("envoy")

ALLOW_PLAINTEXT = "--insecure-allow-plaintext-on-network"
_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
# A last part of digits alone would be taken for an address.
_HOST_NAME = re.compile(rf"(?=.{{1,253}}$)({_LABEL}\.)*(?!\d+$){_LABEL}")


class DiallingRefused(ValueError):
    """The envoy must not call there; the message says why and what is legal."""


def legal_host(text: str) -> str:
    """Read where the director is: a name or an address, of IPv6 with or without brackets.

    Raises:
        DiallingRefused: it is neither; whether there is such a host is not asked here.
    """
    host = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if host != text or not _HOST_NAME.fullmatch(host):
            raise DiallingRefused(
                f"{text!r} is not a host name; legal are a name such as gpu1.example.org or an address "
                "such as 192.0.2.7 or ::1, and DIRECTOR_PORT has the port"
            ) from None
    return host


def require_guarded(
    name: str, director_host: str, certificates: Certificates | None, plaintext_allowed: bool = False
) -> None:
    """Refuse to run code of whoever answers on the way to a director on another machine.

    Args:
        name: the envoy's.
        director_host: name or address of its director.
        certificates: with them, the envoy speaks TLS.
        plaintext_allowed: its owner trusts everybody on the network.

    Raises:
        DiallingRefused: without TLS, the director is on another machine, or there is no such host.
        CertificateError: the certificate is for an envoy of another name.
    """
    if certificates is not None:
        if certificates.name != name:
            raise CertificateError(f"{certificates.certificate} is for {certificates.name}, not for {name}")
    elif not plaintext_allowed and not all(map(_is_loopback, _addresses(director_host))):
        raise DiallingRefused(
            f"without TLS an envoy serves a director on this machine only, and {director_host} is another: "
            "whoever is on the way could have code run here. Use bash start_envoy_with_tls.sh NAME HOST, "
            f"or say {ALLOW_PLAINTEXT}"
        )
    elif plaintext_allowed:
        logger.warning(
            "%s: the director's identity is not checked, and others can listen in", ALLOW_PLAINTEXT
        )
    if certificates is not None or plaintext_allowed:
        try:
            _addresses(director_host)
        except DiallingRefused as unknown:  # the director's machine may get its name later
            logger.warning("%s; is it spelt right? Trying all the same", unknown)


def in_uri(host: str) -> str:
    """Return ``host`` as it stands before a port."""
    return f"[{host}]" if ":" in host else host


def _addresses(host: str) -> list[str]:
    """Look up the addresses of a name.

    Raises:
        DiallingRefused: it has none.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise DiallingRefused(f"no such host: {host} ({error.strerror})") from error
    return [str(address[4][0]) for address in found]


def _is_loopback(address: str) -> bool:
    """Say whether an address is of this machine's loopback."""
    return ipaddress.ip_address(address).is_loopback
