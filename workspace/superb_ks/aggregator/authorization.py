"""Who may call the aggregator's service: the enrolled envoys, each in its own name.

The director's counterpart, with more on what a certificate says, is `director/caller_rules.py`. Without TLS
there is no certificate, and the aggregator listens on the loopback only.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import grpc
from google.protobuf.message import DecodeError
from openfl.protocols import aggregator_pb2

logger = logging.getLogger(__name__)

# A certificate says whose it is as a SPIFFE id; only envoys call the aggregator.
_ENVOYS = "spiffe://superb-ks/envoy/"


def _sender(request: Any) -> str:
    return str(request.header.sender)


def _sender_of_upload(chunk: Any) -> str:
    return _sender(aggregator_pb2.TaskResults.FromString(bytes(chunk.npbytes)))


SENDERS: dict[str, Callable[[Any], str]] = {
    "GetTasks": _sender,
    "GetAggregatedTensor": _sender,
    "SendLocalTaskResults": _sender_of_upload,
}
"""Where each method's request, or the first message of its stream, says who sends it. A method that is not
here is refused."""


def owner(peer: Mapping[str, Sequence[bytes]]) -> str:
    """Return whose certificate the caller has, from what gRPC knows of it (`context.auth_context()`)."""
    ids = peer.get("peer_spiffe_id", ())
    return ids[0].decode("utf-8", "replace") if len(ids) == 1 else "nobody"


def objection(method: str, caller: str, sender: str, enrolled: Collection[str]) -> str:
    """Return why the owner of a certificate may not call `method` as `sender`; empty if it may.

    Args:
        method: of the aggregator's service.
        caller: the `owner`.
        sender: who the message says that it is from.
        enrolled: the names of the experiment's envoys.
    """
    if method not in SENDERS:
        return f"{method} is for nobody"
    if not caller.startswith(_ENVOYS):
        return f"{method} is for envoys"
    if caller != _ENVOYS + sender:
        return f"it calls itself {sender!r}"
    if sender not in enrolled:
        return "it is not enrolled"
    return ""


def admitted(servicer: Any, method: str, context: Any) -> str:
    """Return the owner of the caller's certificate, and end the call if it is none of an enrolled envoy.

    That is known before any message arrives, so that nobody else holds a thread until then. What the message
    says is for `checked`.

    Args:
        servicer: OpenFL's `AggregatorGRPCServer`; without `use_tls` nothing is known of a caller.
        method: the name of the method.
        context: of the call.
    """
    if not servicer.use_tls:
        return ""
    caller = owner(context.auth_context())
    _require(servicer, method, caller, caller.removeprefix(_ENVOYS), context)
    return caller


def _require(servicer: Any, method: str, caller: str, sender: str, context: Any) -> None:
    why = objection(method, caller, sender, servicer.aggregator.authorized_cols)
    if why:
        logger.warning("Refused %s of %s at %s: %s", method, caller, unquote(context.peer()), why)
        context.abort(grpc.StatusCode.PERMISSION_DENIED, f"{method} of {caller}: {why}")


def checked(servicer: Any, method: str, handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
    """Put the handler of one of the aggregator's methods behind the check of who calls.

    Corrects: OpenFL asks who sends an upload when all of it was received, so that an envoy could take the
    place of another in a round; it lets a refused caller hold a thread for up to five seconds; it looks at no
    role; and the log says nothing.

    Args:
        servicer: OpenFL's `AggregatorGRPCServer`; without `use_tls` nothing is checked.
        method: the name of the method.
        handler: what serves it.
    """
    if not servicer.use_tls:
        return handler

    def require(message: Any, context: Any) -> None:
        caller = owner(context.auth_context())
        try:
            sender = SENDERS[method](message) if method in SENDERS else ""
        except DecodeError:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{method}: the message is damaged")
        _require(servicer, method, caller, sender, context)

    kind = "unary_stream" if handler.response_streaming else "unary_unary"

    def serve_message(request: Any, context: Any) -> Any:
        require(request, context)
        return getattr(handler, kind)(request, context)

    def serve_stream(requests: Iterator[Any], context: Any) -> Any:
        first = next(requests, None)
        if first is None:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{method}: an empty upload")
        require(first, context)
        return handler.stream_unary(itertools.chain((first,), requests), context)

    if handler.request_streaming:
        return handler._replace(stream_unary=serve_stream)
    return handler._replace(**{kind: serve_message})
