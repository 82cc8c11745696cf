"""Where the director may listen: on this machine only, unless by TLS or where its owner says otherwise."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from superb_node import local_socket
from superb_node.certificates import CertificateError, Certificates
from superb_node.errors import ConfigError
from superb_node.loopback import (
    ALLOW_PLAINTEXT,
    LOCAL_HOSTS,
    HostRefused,
    UnknownHost,
    addresses_of,
    bare,
    is_loopback,
)

logger = logging.getLogger("director")

_ALL_ADDRESSES = ("0.0.0.0", "::")


def require_tls_or_loopback(
    host: str,
    certificates: Certificates | None,
    plaintext_allowed: bool = False,
    service: str = "director",
) -> None:
    """Refuse to listen where others could listen in, or call.

    The aggregator of each experiment listens on the same host.

    Args:
        host: name or address to listen on.
        certificates: with them, the director speaks TLS.
        plaintext_allowed: its owner wants none, and others to reach it.
        service: what listens; its start scripts are called so.

    Raises:
        HostRefused: without TLS, others than this machine would reach it; or there is no such host.
        CertificateError: with TLS, nobody could: the certificate is for other hosts.
    """
    if certificates is None:
        _require_loopback(host, plaintext_allowed, service)
    elif host not in _ALL_ADDRESSES and host.lower() not in certificates.hosts:
        wanted = [*(each for each in certificates.hosts if each not in LOCAL_HOSTS), host]
        raise CertificateError(
            f"the director's certificate is for {', '.join(certificates.hosts) or 'no host'}, not {host}; "
            f"make certs HOST='{' '.join(wanted)}' CERTS_OPTIONS='--force director'"
        )
    elif host.lower() not in LOCAL_HOSTS and _is_known_loopback(host):
        # Some systems map a machine's own name to 127.0.1.1.
        logger.warning(
            "%s is of the loopback here: other machines cannot reach it. Is there an address?", host
        )


def _require_loopback(host: str, plaintext_allowed: bool, service: str) -> None:
    try:
        addresses_of(host)
    except UnknownHost as error:
        raise UnknownHost(f"{error}. DIRECTOR_HOST must be a name or an address of this machine") from error
    if plaintext_allowed:
        logger.warning("%s: no caller's identity is checked, and others can listen in", ALLOW_PLAINTEXT)
    elif not is_loopback(host):
        raise HostRefused(
            f"without TLS the {service} listens on this machine only, and {host} is reached from others: "
            f"any caller could have code run on all envoys. Use bash start_{service}_with_tls.sh "
            f"HOST, or say {ALLOW_PLAINTEXT}"
        )


def _is_known_loopback(host: str) -> bool:
    try:
        return is_loopback(host)
    except UnknownHost:  # `require_free` says so
        return False


@contextmanager
def own_port(host: str, port: int, service: str = "director") -> Iterator[str]:
    """Have a service's port while inside, as `listening_address`; fail in words for its owner.

    Raises:
        ConfigError: somebody else has the port, or `host` is not an address of this machine.
    """
    with ExitStack() as held:
        try:
            address = held.enter_context(listening_address(host, port))
        except OSError as error:
            advice = "DIRECTOR_HOST must be a name or an address of this machine"
            if error.errno == errno.EADDRINUSE:
                advice = f"Is another {service} running? Stop it, or choose another port with DIRECTOR_PORT"
            where = local_socket.shown(bare(host), port)
            raise ConfigError(f"cannot listen on {where} ({error.strerror}). {advice}") from error
        yield address


@contextmanager
def listening_address(host: str, port: int) -> Iterator[str]:
    """Have a port while inside; yields the address on which gRPC then listens.

    Args:
        host: as it stands in an address, such as "[::1]"; `local_socket.HOST` for a socket.
        port: of TCP, or for which the socket stands.

    Raises:
        OSError: somebody else has it, or `host` is not an address of this machine.
        ConfigError: the folder of the sockets is not this account's alone.
    """
    if host == local_socket.HOST:
        with local_socket.only_listener(port) as path:
            yield f"{host}:{path}"
    else:
        require_free(bare(host), port)
        yield f"{host}:{port}"


def require_free(host: str, port: int) -> None:
    """Make sure that nobody else listens on `port` of any address of `host`.

    gRPC is content if one of several addresses is free: the process that has the other would answer some
    of our callers.

    Raises:
        OSError: somebody does, or `host` is not an address of this machine.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    if host.lower() == "localhost":  # to gRPC it is both, whatever the system says
        for address in LOCAL_HOSTS[1:]:
            found += socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)
    for number, (family, kind, protocol, _, address_and_port) in enumerate(found):
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address_and_port)
        except OSError as error:
            # A further one may be missing, such as ::1 where IPv6 is off.
            if number == 0 or error.errno == errno.EADDRINUSE:
                raise OSError(error.errno, error.strerror, f"{host}:{port}") from error
