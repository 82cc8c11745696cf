"""Who may call the aggregator's service: the enrolled envoys, each in its own name.

Without TLS there is no certificate to ask, and the aggregator listens on a socket of its account only.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import grpc

# A certificate says whose it is as a SPIFFE id; only envoys call the aggregator.
_ENVOYS = "spiffe://superb-ks/envoy/"


class Refused(Exception):
    """A call that is refused, with gRPC's code for it and the reason."""

    def __init__(self, code: grpc.StatusCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def owner(peer: Mapping[str, Sequence[bytes]]) -> str:
    """Return whose certificate the caller has, from what gRPC knows of it (`context.auth_context()`)."""
    ids = peer.get("peer_spiffe_id", ())
    return ids[0].decode("utf-8", "replace") if len(ids) == 1 else "nobody"


def authorize(method: str, caller: str, enrolled: Collection[str], sender: str | None = None) -> None:
    """Check that the owner of a certificate may call a method of the aggregator's service.

    Args:
        method: the name of the method.
        caller: the `owner`.
        enrolled: the names of the experiment's envoys.
        sender: who the message says that it is from; None as long as none has arrived.

    Raises:
        Refused: it may not.
    """
    name = caller.removeprefix(_ENVOYS)
    if name == caller:
        reason = f"{method} is for envoys"
    elif sender is not None and sender != name:
        reason = f"it calls itself {sender[:100]!r}"  # a message has room for megabytes
    elif name not in enrolled:
        reason = "it is not enrolled"
    else:
        return
    raise Refused(grpc.StatusCode.PERMISSION_DENIED, reason)
