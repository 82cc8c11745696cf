"""Why TLS keeps an envoy or a notebook from its director: gRPC tells only that the connection was closed."""

from __future__ import annotations

import socket
import ssl
from datetime import datetime, timezone
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature

ANSWER_TIMEOUT_SECONDS = 3.0
NO_REASON = "it closed the connection after our certificate; its log says why"
"""A director that stops in this moment closes the connection as well; it is the reason if it stays."""

# By which OpenSSL tells, from version to version, that what it reads is not TLS.
_NOT_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")


def why_refused(
    host: str, port: int, certificates: tuple[Path, Path, Path] | None, asks_for_ours: bool = True
) -> str:
    """Shake hands with a director that gRPC cannot reach, and find out why.

    Args:
        host: of the director.
        port: of the director.
        certificates: files of the authority's certificate, our own, and its key; None to speak without TLS.
        asks_for_ours: whether it looks at our certificate, as a SuperLink does not.

    Returns:
        The reason, in one line; empty if nobody answers there, or there is nothing in the way.
    """
    try:
        context = _tls_context(certificates)
        with (
            socket.create_connection((host, port), ANSWER_TIMEOUT_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host) as encrypted,
        ):
            if certificates is None:
                return "it speaks TLS only, and we speak without"
            if not asks_for_ours:
                return ""
            # TLS 1.3 looks at our certificate when our side of the handshake is over.
            return "" if encrypted.recv(1) else _fault_of_own_certificate(*certificates[:2])
    except ssl.SSLCertVerificationError as error:
        return f"we do not accept its certificate: {error.verify_message.rstrip('.')}"
    except ssl.SSLError as error:
        if certificates is not None and error.reason in _NOT_TLS:
            return "it does not speak TLS, and we do"
        return ""
    except ConnectionResetError:  # after the handshake, or a tunnel whose other end is closed
        return "" if certificates is None else _fault_of_own_certificate(*certificates[:2])
    except OSError:
        return ""


def _tls_context(certificates: tuple[Path, Path, Path] | None) -> ssl.SSLContext:
    if certificates is None:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context = ssl.create_default_context(cafile=str(certificates[0]))
        context.load_cert_chain(*map(str, certificates[1:]))
    context.set_alpn_protocols(["h2"])
    return context


def _fault_of_own_certificate(root_certificate: Path, certificate: Path) -> str:
    """Return what is wrong with our certificate, as far as it can be told from here."""
    files = (root_certificate, certificate)
    root, own = (x509.load_pem_x509_certificate(path.read_bytes()) for path in files)
    if own.not_valid_after_utc < datetime.now(timezone.utc):
        return f"our certificate expired on {own.not_valid_after_utc:%Y-%m-%d}"
    try:
        own.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature):
        return "another authority signed our certificate"
    return NO_REASON
