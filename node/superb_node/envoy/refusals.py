"""Tells a director that is away, and will be back, from one that refuses this envoy."""

from __future__ import annotations

import os
from pathlib import Path

import grpc

from superb_node import local_socket
from superb_node.tls_diagnosis import NO_REASON, why_refused

MAX_CLOSED_CONNECTIONS = 5
"""Connections in a row that the director closes without a reason, which count as a refusal."""
# Answers that stay the same, however often we ask.
_REFUSALS = (
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
)


class ShardRefused(ValueError):
    """The director does not accept this envoy, or its shard.

    Attributes:
        exit_code: with which the process ends. Unlike a mistake in the configuration it may pass: a name that
            is taken becomes free, a list of envoys gets longer, a certificate is renewed.
    """

    exit_code = os.EX_TEMPFAIL


class RefusalDetector:
    """Looks into calls that failed: is the director away, or does it refuse?

    Args:
        host: of the director; an IPv6 address may be in brackets. `local_socket.HOST` for a socket.
        port: of the director, or its socket's path.
        certificates: files of the authority's certificate, our own, and its key; None to speak without TLS.
    """

    def __init__(self, host: str, port: int | str, certificates: tuple[Path, Path, Path] | None) -> None:
        self._host, self._port = host, port
        self._certificates = certificates
        self._closed = 0

    def raise_if_refused(self, error: grpc.RpcError) -> None:
        """Return if it makes sense to call again after `error`.

        Raises:
            ShardRefused: the director refused, by a reply or in the TLS handshake.
        """
        if error.code() in _REFUSALS:
            refused = ShardRefused(f"the director refused: {error.details()}")
            if error.code() is grpc.StatusCode.FAILED_PRECONDITION:  # of its shard: it stays
                refused.exit_code = 2
            raise refused from None
        if self._host == local_socket.HOST:  # there TLS is nobody's
            return
        reason = why_refused(self._host.strip("[]"), int(self._port), self._certificates)
        self._closed = self._closed + 1 if reason == NO_REASON else 0
        if reason and (reason != NO_REASON or self._closed >= MAX_CLOSED_CONNECTIONS):
            raise ShardRefused(f"no way to the director at {self._host}:{self._port}: {reason}") from None
