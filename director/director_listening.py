"""Where the director may listen: on this machine only, unless by TLS or where its owner says otherwise."""

from __future__ import annotations

import errno
import ipaddress
import logging
import re
import socket

from director_certificates import CertificateError, Certificates

logger = logging.getLogger("director")

ALLOW_PLAINTEXT = "--insecure-allow-plaintext-on-network"
_ALL_ADDRESSES = ("0.0.0.0", "::")
_LOCAL = ("localhost", "127.0.0.1", "::1")
_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
# A last part of digits alone would be taken for an address.
_HOST_NAME = re.compile(rf"(?=.{{1,253}}$)({_LABEL}\.)*(?!\d+$){_LABEL}")


class ListeningRefused(ValueError):
    """The director must not listen there; the message says why and what is legal."""


def legal_host(text: object) -> str:
    """Read where to listen: a name or an address, of IPv6 with or without brackets.

    Raises:
        ListeningRefused: it is neither; whether there is such a host is not asked here.
    """
    host = str(text)[1:-1] if str(text).startswith("[") and str(text).endswith("]") else text
    try:
        ipaddress.ip_address(str(host))
    except ValueError:
        if not isinstance(text, str) or host != text or not _HOST_NAME.fullmatch(text):
            raise ListeningRefused(
                f"listen_host (or DIRECTOR_HOST) is {text!r}, which is not a host name; legal are a name "
                "such as gpu1.example.org or an address such as 192.0.2.7 or ::1, and DIRECTOR_PORT has the "
                "port"
            ) from None
    return str(host)


def require_guarded(host: str, certificates: Certificates | None, plaintext_allowed: bool = False) -> None:
    """Refuse to listen where others could listen in, or call.

    The aggregator of each experiment listens on the same host.

    Args:
        host: name or address to listen on.
        certificates: with them, the director speaks TLS.
        plaintext_allowed: its owner wants none, and others to reach it.

    Raises:
        ListeningRefused: without TLS, others than this machine would reach it; or there is no such host.
        CertificateError: with TLS, nobody could: the certificate is for other hosts.
    """
    if certificates is None:
        _require_known(host)
        if not plaintext_allowed and not is_loopback(host):
            raise ListeningRefused(
                f"without TLS the director listens on this machine only, and {host} is reached from others: "
                "whoever calls it could have code run on all envoys. Use bash start_director_with_tls.sh "
                f"HOST, or say {ALLOW_PLAINTEXT}"
            )
        if plaintext_allowed:
            logger.warning("%s: no caller's identity is checked, and others can listen in", ALLOW_PLAINTEXT)
    elif host not in _ALL_ADDRESSES and host.lower() not in certificates.hosts:
        wanted = [*(each for each in certificates.hosts if each not in _LOCAL), host]
        raise CertificateError(
            f"the director's certificate is for {', '.join(certificates.hosts) or 'no host'}, not {host}; "
            f"make certs HOST='{' '.join(wanted)}' CERTS_OPTIONS='--force director'"
        )
    elif host.lower() not in _LOCAL and is_loopback(host):
        # Some systems map a machine's own name to 127.0.1.1.
        logger.warning(
            "%s is of the loopback here: other machines cannot reach it. Is there an address?", host
        )


def require_free(host: str, port: int) -> None:
    """Make sure that nobody else listens on ``port`` of any address of ``host``.

    gRPC is content if one of several addresses is free: who has the other would answer some of our callers.

    Raises:
        OSError: somebody does, or ``host`` is not an address of this machine.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    if host.lower() == "localhost":  # to gRPC it is both, whatever the system says
        for address in _LOCAL[1:]:
            found += socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)
    for number, (family, kind, protocol, _, each) in enumerate(found):
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(each)
        except OSError as error:
            # A further one may be missing, such as ::1 where IPv6 is off.
            if number == 0 or error.errno == errno.EADDRINUSE:
                raise OSError(error.errno, error.strerror, f"{host}:{port}") from error


def in_uri(host: str) -> str:
    """Return ``host`` as it stands before a port."""
    return f"[{host}]" if ":" in host else host


def is_loopback(host: str) -> bool:
    """Say whether ``host`` can be reached from this machine only: all its addresses are of the loopback."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:  # of nobody: require_free_port says so
        return False
    return all(ipaddress.ip_address(address[4][0]).is_loopback for address in found)


def _require_known(host: str) -> None:
    try:
        socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ListeningRefused(
            f"no such host: {host} ({error.strerror}). DIRECTOR_HOST must be a name or an address of this "
            "machine"
        ) from error
