"""The aggregator's gRPC service: OpenFL 1.7.1's own, corrected where OpenFL looks things up."""

from __future__ import annotations

import hmac
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

import grpc
from google.protobuf.message import DecodeError
from openfl.protocols import aggregator_pb2, aggregator_pb2_grpc
from openfl.transport.grpc import aggregator_server
from openfl.transport.grpc.grpc_channel_options import channel_options

from superb_ks.aggregator.authorization import Refused, authorize, owner
from superb_ks.aggregator.limits import (
    MAX_THREADS,
    PART_TIMEOUT_SECONDS,
    SERVER_OPTIONS,
    CallsUnderWay,
    StalledStream,
    TimedCall,
)
from superb_ks.transport.messages import EXPERIMENT, SERVICE

logger = logging.getLogger(__name__)

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED

STRANGERS_LOG_SECONDS = 60.0
"""Least time between two log lines about calls without the experiment's id: a stranger must not fill the
disk."""


class Method(NamedTuple):
    """A method of the service.

    Attributes:
        decode: makes the request of the first message's bytes.
        serve: takes the request, the messages after it, and the call's context; yields the answers.
        encode: makes bytes of an answer.
    """

    decode: Callable[[bytes], Any]
    serve: Callable[[Any, Iterator[bytes], Any], Iterable[Any]]
    encode: Callable[[Any], bytes]


class GuardedService(grpc.GenericRpcHandler):
    """Serves the calls of one experiment's collaborators, and refuses all others at once.

    Each method takes and gives streams, which on the wire is what one message is, too: gRPC would wait for a
    single message before it asked anybody whether the caller may send it.

    Args:
        name: full name of the gRPC service.
        methods: by their names; others are not served.
        experiment_id: what a call has to show in the header `EXPERIMENT`. The director tells it to
            enrolled envoys only.
        authorize_call: takes a method's name, a call's context, and the request, None as long as there is
            none; returns whose certificate the caller has, empty where that is not known, or raises
            `Refused`.
    """

    def __init__(
        self,
        name: str,
        methods: Mapping[str, Method],
        experiment_id: str,
        authorize_call: Callable[[str, Any, Any], str],
    ) -> None:
        self._handlers = {f"/{name}/{each}": self._handler(each, method) for each, method in methods.items()}
        self._id = experiment_id.encode()
        self._authorize = authorize_call
        self._calls = CallsUnderWay()
        self._log_strangers_at = 0.0

    def service(self, handler_call_details: Any) -> grpc.RpcMethodHandler | None:
        """Return the handler of a call."""
        return self._handlers.get(handler_call_details.method)

    def _handler(self, name: str, method: Method) -> grpc.RpcMethodHandler:
        def serve(messages: Iterable[bytes], context: Any) -> Iterator[Any]:
            try:
                yield from self._serve(name, method, messages, context)
            except StalledStream:
                pass  # the call is cancelled, and the log says so
            except Refused as refused:
                self._refuse(name, context, refused)
            except (DecodeError, ValueError, RuntimeError) as error:
                self._refuse(name, context, Refused(grpc.StatusCode.INVALID_ARGUMENT, str(error)))

        return grpc.stream_stream_rpc_method_handler(serve, response_serializer=method.encode)

    def _serve(self, name: str, method: Method, messages: Iterable[bytes], context: Any) -> Iterator[Any]:
        """Answer a call; nothing of it is read before it has shown the id and a good certificate."""
        shown = [value for key, value in context.invocation_metadata() if key == EXPERIMENT]
        if len(shown) != 1 or not hmac.compare_digest(shown[0], self._id):
            raise Refused(UNAUTHENTICATED, "the call does not show the experiment's id")
        caller = self._authorize(name, context, None)
        with self._calls.one_more(caller), TimedCall(context) as call:
            stream = call.receive(messages)
            first = next(stream, None)
            if first is None:
                raise ValueError("no message")
            request = method.decode(first)
            self._authorize(name, context, request)
            call.timeout = PART_TIMEOUT_SECONDS
            yield from call.send(method.serve(request, stream, context))

    def _refuse(self, name: str, context: Any, refused: Refused) -> None:
        """End a call with the reason in one line, here and there."""
        caller, reason = owner(context.auth_context()), str(refused)
        if refused.code is not UNAUTHENTICATED or time.monotonic() >= self._log_strangers_at:
            logger.warning("Refused %s of %s at %s: %s", name, caller, unquote(context.peer()), reason)
            if refused.code is UNAUTHENTICATED:
                self._log_strangers_at = time.monotonic() + STRANGERS_LOG_SECONDS
        if refused.code is grpc.StatusCode.PERMISSION_DENIED:
            reason = f"{name} of {caller}: {reason}"
        context.abort(refused.code, reason)


def correct_aggregator_service() -> None:
    """Let OpenFL serve its aggregator as we do; call before the aggregator's gRPC server is built.

    Corrects: OpenFL grows a `bytes` object chunk by chunk, which copies everything received so far each time
    (21 s instead of 0.2 s for wav2vec2-base), and protobuf copies every weight several times more; the server
    has one thread for each processor, so that two collaborators that wait keep a third from delivering its
    update; and anybody may hold such a thread, and memory, for as long as he likes (see `limits.py`).
    """
    aggregator_pb2_grpc.add_AggregatorServicer_to_server = add_servicer_to_server
    aggregator_server.cpu_count = lambda: MAX_THREADS
    aggregator_server.channel_options = list({**dict(channel_options), **SERVER_OPTIONS}.items())


def add_servicer_to_server(servicer: Any, server: grpc.Server) -> None:
    """Serve OpenFL's `AggregatorGRPCServer`; stands in for the generated function of the same purpose."""
    aggregator = servicer.aggregator

    def authorize_call(method: str, context: Any, request: Any) -> str:
        # Corrects: OpenFL asks who sends an upload when all of it was received, so that an envoy could take
        # the place of another in a round; it lets a refused caller hold a thread for up to five seconds; it
        # looks at no role; and the log says nothing.
        if not servicer.use_tls:
            return ""
        caller = owner(context.auth_context())
        sender = None if request is None else request.header.sender
        authorize(method, caller, aggregator.authorized_cols, sender)
        return caller

    def get_tasks(request: Any, _: Iterator[bytes], context: Any) -> Iterator[Any]:
        yield servicer.GetTasks(request, context)

    def get_model(request: Any, _: Iterator[bytes], context: Any) -> Iterator[bytes]:
        # Corrects: an answer is one message, so that a large model needs many calls, each of which costs as
        # much as moving its part does. One answer is a stream of one, and here they are as many as it takes.
        servicer.validate_collaborator(request, context)
        servicer.check_request(request)
        yield from aggregator.parts(request.tensor_name, request.round_number, tuple(request.tags))

    def take_results(head: Any, messages: Iterator[bytes], context: Any) -> Iterator[Any]:
        # Corrects: for whom an upload is, and of which experiment, is asked when all of it was received.
        servicer.validate_collaborator(head, context)
        servicer.check_request(head)
        results = aggregator.receive(head, messages)
        name = head.header.sender
        aggregator.send_local_task_results(name, head.round_number, head.task_name, head.data_size, results)
        yield aggregator_pb2.SendLocalTaskResultsResponse(header=servicer.get_header(name))

    methods = {
        "GetTasks": Method(
            aggregator_pb2.GetTasksRequest.FromString,
            get_tasks,
            aggregator_pb2.GetTasksResponse.SerializeToString,
        ),
        "GetAggregatedTensor": Method(aggregator_pb2.GetAggregatedTensorRequest.FromString, get_model, bytes),
        "SendLocalTaskResults": Method(
            aggregator_pb2.TaskResults.FromString,
            take_results,
            aggregator_pb2.SendLocalTaskResultsResponse.SerializeToString,
        ),
    }
    service = GuardedService(SERVICE, methods, aggregator.federation_uuid, authorize_call)
    server.add_generic_rpc_handlers((service,))
