"""Hosts: which texts name one, and which of them only this machine can reach."""

from __future__ import annotations

import ipaddress
import socket

from superb_ks.addresses import is_host
from superb_node.errors import ConfigError

ALLOW_PLAINTEXT = "--insecure-allow-plaintext-on-network"
"""The option by which an owner lets director or envoy speak with other machines without TLS."""
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
"""Every machine can reach itself by these."""


class HostRefused(ConfigError):
    """A service must not listen or call there; the message says why and what is legal."""


class UnknownHost(HostRefused):
    """A name has no address."""


def legal_host(text: object, what: str = "") -> str:
    """Read a name or an address, of IPv6 with or without brackets.

    Args:
        text: as its owner wrote it.
        what: the setting and a verb, for the message, such as "listen_host is ".

    Raises:
        HostRefused: it is neither; whether there is such a host is not asked here.
    """
    if not is_host(text):
        raise HostRefused(
            f"{what}{text!r}{', which' if what else ''} is not a host name; legal: a name such as "
            "gpu1.example.org or an address such as 192.0.2.7 or ::1, and DIRECTOR_PORT has the port"
        )
    return bare(str(text))


def bare(host: str) -> str:
    """Return a host without the brackets in which an IPv6 address may stand."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def in_uri(host: str) -> str:
    """Return a host as it stands before a port."""
    return f"[{host}]" if ":" in host else host


def addresses_of(host: str) -> list[str]:
    """Look up the addresses of a name.

    Raises:
        UnknownHost: it has none.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise UnknownHost(f"no such host: {host} ({error.strerror})") from error
    return [str(address[4][0]) for address in found]


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach `host`: all its addresses are of the loopback.

    Raises:
        UnknownHost: it has no address.
    """
    return all(ipaddress.ip_address(address).is_loopback for address in addresses_of(host))
