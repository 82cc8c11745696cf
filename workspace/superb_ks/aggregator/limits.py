"""What a caller may hold of the aggregator: a stranger no thread, a collaborator one that makes progress.

OpenFL's service runs on gRPC's threads. A call takes one from its first byte to its last, also while it waits
for a message that never comes.
"""

from __future__ import annotations

import hmac
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote

import grpc
from google.protobuf.message import DecodeError

from superb_ks.aggregator.authorization import owner
from superb_ks.aggregator.stalling import (
    SECONDS_A_PART,
    StalledStream,
    Watch,
    Watchdog,
    WatchedStream,
    sending,
)
from superb_ks.transport.codec import EXPERIMENT

logger = logging.getLogger(__name__)

SECONDS_A_MESSAGE = 10.0
"""The header with which a collaborator shows that it knows the experiment: its id, which only the archive
tells. It arrives before any message, so that a call without it is refused before it takes memory or time. The
only message of a call, which is short and is sent with the call's headers."""

CALLS_OF_ONE = 16
"""Calls that the owner of one certificate may have under way, over however many connections. It needs one;
the others are for those whose connection has broken, which takes 30 s to show."""

SECONDS_A_WARNING = 60.0
"""Calls without the experiment's id are logged so seldom."""

MESSAGE_BYTES = 4 * 2**20
"""Bytes of one message: a part of a model is a fourth of it, and the metrics of a task less."""

SERVER_OPTIONS: dict[str, int] = {
    # Corrects: OpenFL takes messages of 1 GiB and headers of 32 MiB, from anybody, into memory.
    "grpc.max_receive_message_length": MESSAGE_BYTES,
    "grpc.max_metadata_size": 16 * 2**10,
    # So many bytes of an upload that waits for its turn are taken in. By itself gRPC takes in more the faster
    # the line is, tens of MiB on the loopback, times the envoys, and measures the line all the time.
    "grpc.http2.bdp_probe": 0,
    "grpc.http2.lookahead_bytes": 4 * 2**20,
    # A collaborator has one call under way; gRPC counts also those that have ended, until Python has freed
    # them, and refuses (REFUSED_STREAM) what is beyond.
    "grpc.max_concurrent_streams": 100,
    # Director and aggregator share one process, which may have 1,024 files open on many systems.
    "grpc.max_allowed_incoming_connections": 400,
    # A connection that says nothing, or not HTTP/2, is closed after this; gRPC's own limit is two minutes.
    "grpc.server_handshake_timeout_ms": 10_000,
    # A connection without any call is closed after this; its owner makes a new one with its next call.
    "grpc.max_connection_idle_ms": 300_000,
}
"""What gRPC's server is told, beside OpenFL's own options."""


class CallsUnderWay:
    """Counts the calls under way of each caller whose name is known."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def one_of(self, caller: str) -> Iterator[bool]:
        """Count a call of `caller` inside the context; yields whether it has room for that call."""
        with self._lock:
            has_room = not caller or self._counts[caller] < CALLS_OF_ONE
            self._counts[caller] += has_room
        try:
            yield has_room
        finally:
            with self._lock:
                self._counts[caller] -= has_room


class GuardedService(grpc.GenericRpcHandler):
    """Serves the calls of one experiment's collaborators, and refuses all others at once.

    Args:
        service: full name of the gRPC service.
        handlers: by the names of its methods: one message or a stream with one answer, or one message with a
            stream of answers.
        experiment_id: what a call has to show in the header `EXPERIMENT`.
        admit: takes a method's name and a call's context, returns whose certificate the caller has, and ends
            the call if its owner has no business here; empty without TLS, where it is not known.
    """

    def __init__(
        self,
        service: str,
        handlers: Mapping[str, grpc.RpcMethodHandler],
        experiment_id: str,
        admit: Callable[[str, Any], str] = lambda method, context: "",
    ) -> None:
        self._watchdog = Watchdog()
        self._admit = admit
        self._calls = CallsUnderWay()
        self._id = experiment_id.encode()
        self._handlers = {f"/{service}/{name}": self._guarded(name, each) for name, each in handlers.items()}
        # A stream, because a handler of one message would wait for that message first.
        self._refusing = grpc.stream_unary_rpc_method_handler(self._refuse)
        self._untold = 0
        self._tell_at = 0.0
        self._telling = threading.Lock()

    def service(self, handler_call_details: Any) -> grpc.RpcMethodHandler | None:
        """Return the handler of a call; gRPC asks before the call takes a thread."""
        handler = self._handlers.get(handler_call_details.method)
        if handler is None or self._is_known(handler_call_details.invocation_metadata):
            return handler
        return self._refusing

    def _is_known(self, headers: Iterable[tuple[str, str | bytes]]) -> bool:
        shown = [value for key, value in headers if key == EXPERIMENT]
        return len(shown) == 1 and isinstance(shown[0], bytes) and hmac.compare_digest(shown[0], self._id)

    def _guarded(self, name: str, handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
        """Serve a method as a watched stream of messages; on the wire one message is a stream, too."""

        def serve(messages: Iterable[Any], context: Any) -> Any:
            with self._place(name, context), _refusing_damage(name, context):
                if not handler.request_streaming:
                    return handler.unary_unary(self._only_message(messages, context), context)
                watch = Watch(context, SECONDS_A_PART)
                with self._watchdog.watching(watch):
                    return handler.stream_unary(WatchedStream(messages, watch), context)

        def serve_answers(messages: Iterable[Any], context: Any) -> Iterator[Any]:
            with self._place(name, context), _refusing_damage(name, context):
                answers = handler.unary_stream(self._only_message(messages, context), context)
                watch = Watch(context, SECONDS_A_PART)
                with self._watchdog.watching(watch), _telling_if_stalled(name, watch, context):
                    yield from sending(answers, watch)

        coding = handler.request_deserializer, handler.response_serializer
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(serve_answers, *coding)
        return grpc.stream_unary_rpc_method_handler(serve, *coding)

    @contextmanager
    def _place(self, name: str, context: Any) -> Iterator[None]:
        """Hold a place for a call inside the context, or end the call."""
        caller = self._admit(name, context)
        with self._calls.one_of(caller) as has_room:
            if not has_room:
                # A code after which a collaborator tries again.
                context.abort(grpc.StatusCode.UNAVAILABLE, f"{caller} has too many calls under way")
            yield

    def _only_message(self, messages: Iterable[Any], context: Any) -> Any:
        watch = Watch(context, SECONDS_A_MESSAGE)
        with self._watchdog.watching(watch):
            message = next(WatchedStream(messages, watch), None)
        if message is None:
            raise RuntimeError("no message")
        return message

    def _refuse(self, _: Iterable[Any], context: Any) -> None:
        self._tell(context)
        context.abort(grpc.StatusCode.UNAUTHENTICATED, "the call does not show the experiment's id")

    def _tell(self, context: Any) -> None:
        """Log a refused stranger, but not each: whoever calls often must not fill the disk."""
        with self._telling:
            if time.monotonic() < self._tell_at:
                self._untold += 1
                return
            untold, self._untold = self._untold, 0
            self._tell_at = time.monotonic() + SECONDS_A_WARNING
        logger.warning(
            "Refused a call of %s at %s, which does not show the experiment's id (and %d since the last such "
            "line)", owner(context.auth_context()), unquote(context.peer()), untold,
        )  # fmt: skip


@contextmanager
def _telling_if_stalled(name: str, watch: Watch, context: Any) -> Iterator[None]:
    """Log a call whose answers were not taken; a sender that stalls is told of where its stream is read."""
    try:
        yield
    finally:
        if watch.stalled:
            what = "Gave up a call of %s to %s: it took less than a part in %g s of waiting"
            logger.warning(what, unquote(context.peer()), name, watch.seconds)


@contextmanager
def _refusing_damage(name: str, context: Any) -> Iterator[None]:
    """End a call whose messages turn out to be damaged, or do not come, with the reason in one line."""
    try:
        yield
    except (StalledStream, DecodeError, ValueError, RuntimeError) as error:
        logger.warning("Refused %s of %s: %s", name, unquote(context.peer()), error)
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
