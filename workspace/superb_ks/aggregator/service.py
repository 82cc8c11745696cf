"""The aggregator's gRPC service: OpenFL 1.7.1's own, corrected where OpenFL looks things up."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import grpc
from openfl.protocols import aggregator_pb2, aggregator_pb2_grpc
from openfl.protocols import utils as protocol_utils
from openfl.transport.grpc import aggregator_server
from openfl.transport.grpc.grpc_channel_options import channel_options

from superb_ks.aggregator.authorization import admitted, checked
from superb_ks.aggregator.limits import SERVER_OPTIONS, GuardedService
from superb_ks.transport.codec import SERVICE, decode_chunk, encode_tensor_reply

# Collaborators that wait for the next round or for their turn to upload, or that fetch a model, hold one
# thread each; so does a call that sends or takes nothing, for a while (see `stalling.py`). A thread is
# started when there is none to spare.
AGGREGATOR_THREADS = 256


def correct_aggregator_service(receive: Callable[[Any, Iterable[Any]], Any]) -> None:
    """Let `receive(TaskResults, stream)` read uploads; call before the aggregator's gRPC server is built.

    Corrects: `datastream_to_proto` grows a `bytes` object chunk by chunk, which copies everything
    received so far each time (21 s instead of 0.2 s for wav2vec2-base); every weight is copied several
    times more (see `codec.py`); the server has one thread for each processor, so that two
    collaborators that wait keep a third from delivering its update; and anybody may hold such a thread, and
    memory, for as long as he likes (see `guard.py`).
    """
    protocol_utils.datastream_to_proto = receive
    aggregator_pb2_grpc.add_AggregatorServicer_to_server = add_servicer_to_server
    aggregator_server.cpu_count = lambda: AGGREGATOR_THREADS
    aggregator_server.channel_options = list({**dict(channel_options), **SERVER_OPTIONS}.items())


def add_servicer_to_server(servicer: Any, server: grpc.Server) -> None:
    """Serve OpenFL's `AggregatorGRPCServer`; stands in for the generated function of the same purpose."""

    def get_aggregated_tensor(request: Any, context: Any) -> Iterator[tuple[Any, bytes]]:
        # Corrects: an answer is one message, so that a large model needs many calls, each of which costs as
        # much as moving its part does. One answer is a stream of one, and here they are as many as it takes.
        reply = servicer.GetAggregatedTensor(request, context)  # checks the sender, fills the header
        tags = tuple(request.tags)
        for part in servicer.aggregator.parts(request.tensor_name, request.round_number, tags):
            yield reply, part

    def send_local_task_results(chunks: Iterable[Any], context: Any) -> Any:
        # Corrects: for whom an upload is, and of which experiment, is asked when all of it was received.
        messages = iter(chunks)
        head = next(messages, None)
        if head is None:
            raise RuntimeError("an empty upload")
        servicer.check_request(aggregator_pb2.TaskResults.FromString(bytes(head.npbytes)))
        return servicer.SendLocalTaskResults(itertools.chain((head,), messages), context)

    handlers = {
        "GetTasks": grpc.unary_unary_rpc_method_handler(
            servicer.GetTasks,
            request_deserializer=aggregator_pb2.GetTasksRequest.FromString,
            response_serializer=aggregator_pb2.GetTasksResponse.SerializeToString,
        ),
        "GetAggregatedTensor": grpc.unary_stream_rpc_method_handler(
            get_aggregated_tensor,
            request_deserializer=aggregator_pb2.GetAggregatedTensorRequest.FromString,
            response_serializer=encode_tensor_reply,
        ),
        "SendLocalTaskResults": grpc.stream_unary_rpc_method_handler(
            send_local_task_results,
            request_deserializer=decode_chunk,
            response_serializer=aggregator_pb2.SendLocalTaskResultsResponse.SerializeToString,
        ),
    }
    behind_checks = {method: checked(servicer, method, handler) for method, handler in handlers.items()}
    service = GuardedService(
        SERVICE,
        behind_checks,
        servicer.aggregator.federation_uuid,
        functools.partial(admitted, servicer),
    )
    server.add_generic_rpc_handlers((service,))
