"""Which director an envoy may serve: one on this machine, unless by TLS or where its owner says otherwise."""

from __future__ import annotations

import ipaddress
import logging
import socket

from envoy_certificates import CertificateError, Certificates

logger = logging.getLogger("envoy")

ALLOW_PLAINTEXT = "--insecure-allow-plaintext-on-network"


class DiallingRefused(ValueError):
    """The envoy must not call there; the message says why and what is legal."""


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
        DiallingRefused: without TLS, the director is on another machine.
        CertificateError: the certificate is for an envoy of another name.
    """
    if certificates is not None:
        if certificates.name != name:
            raise CertificateError(f"{certificates.certificate} is for {certificates.name}, not for {name}")
    elif not plaintext_allowed and not _is_loopback(director_host):
        raise DiallingRefused(
            f"without TLS an envoy serves a director on this machine only, and {director_host} is another: "
            "whoever is on the way could have code run here. Use bash start_envoy_with_tls.sh NAME HOST, "
            f"or say {ALLOW_PLAINTEXT}"
        )
    elif plaintext_allowed:
        logger.warning(
            "%s: the director's identity is not checked, and others can listen in", ALLOW_PLAINTEXT
        )


def in_uri(host: str) -> str:
    """Return ``host`` as it stands before a port."""
    return f"[{host}]" if ":" in host else host


def _is_loopback(host: str) -> bool:
    """Say whether all addresses of ``host`` are of this machine's loopback; a name of nobody is none."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return all(ipaddress.ip_address(address[4][0]).is_loopback for address in found)
