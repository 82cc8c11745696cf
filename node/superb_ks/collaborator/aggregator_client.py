"""A collaborator's line to the aggregator: asks for tasks, fetches models, delivers results."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

import grpc
from openfl.component.assigner.tasks import Task
from openfl.protocols import aggregator_pb2, aggregator_pb2_grpc
from openfl.transport.grpc.aggregator_client import AggregatorGRPCClient

from superb_ks.transport import messages
from superb_ks.transport.parts import count_parts, part_name
from superb_ks.types import Vector

Reply = TypeVar("Reply")

# What is tried again: an aggregator that is not there, and a call that it gave up because nothing arrived.
PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.05, 1.0


class AggregatorUnreachable(ConnectionError):
    """The aggregator did not answer for longer than the collaborator is willing to wait, or it refused.

    Attributes:
        was_reached: whether it had answered before, so that it is the link that broke.
            `superb_node.envoy.participation` asks for it.
    """

    was_reached = False


class RoundOver(Exception):
    """The round that the collaborator works for was closed without it."""


class ExperimentOver(Exception):
    """Another submission's aggregator answers in the place of ours."""


class AggregatorStub:
    """The client's methods of OpenFL's aggregator service.

    `GetTasks` takes and returns OpenFL's messages; `GetAggregatedTensor` yields the bytes of a model part
    by part; `SendLocalTaskResults` takes what `messages.upload` yields.

    Args:
        channel: to the aggregator.
        experiment_id: shown with each call (see `superb_ks.aggregator.service`).
    """

    def __init__(self, channel: grpc.Channel, experiment_id: str) -> None:
        self._headers = ((messages.EXPERIMENT, experiment_id.encode()),)
        self.GetTasks = self._showing_id(aggregator_pb2_grpc.AggregatorStub(channel).GetTasks)
        self.GetAggregatedTensor = self._showing_id(
            channel.unary_stream(
                f"/{messages.SERVICE}/GetAggregatedTensor",
                request_serializer=aggregator_pb2.GetAggregatedTensorRequest.SerializeToString,
            )
        )
        self.SendLocalTaskResults = self._showing_id(
            channel.stream_unary(
                f"/{messages.SERVICE}/SendLocalTaskResults",
                response_deserializer=aggregator_pb2.SendLocalTaskResultsResponse.FromString,
            )
        )

    def _showing_id(self, call: Callable[..., Any]) -> partial[Any]:
        return partial(call, metadata=self._headers)


class AggregatorConnection:
    """OpenFL's client, used over one lasting channel.

    Corrects: OpenFL's own use of it makes a new connection for every call, retries without end, so that a
    healthy envoy never takes another experiment when an aggregator is gone, and makes one call for every
    tensor.

    Args:
        client: its channel is used.
        collaborator_name: on whose behalf.
        patience_seconds: how long to wait for an aggregator that cannot be reached.
    """

    def __init__(
        self, client: AggregatorGRPCClient, collaborator_name: str, patience_seconds: float = 60.0
    ) -> None:
        client._set_header(collaborator_name)
        self._header = client.header
        self._stub = AggregatorStub(client.channel, client.federation_uuid)
        self._patience = patience_seconds
        self._was_reached = False

    def wait_for_tasks(self) -> tuple[list[Task], int, bool]:
        """Return `(tasks, round, time to quit)`; the answer comes with news or after a moment."""
        request = aggregator_pb2.GetTasksRequest(header=self._header)
        reply = self._patiently(lambda: self._stub.GetTasks(request))
        return list(reply.tasks), reply.round_number, reply.quit

    def fetch(self, into: Vector, round_number: int, tags: tuple[str, ...]) -> None:
        """Fetch the model that `tags` name into a float32 vector `[size]`, part by part.

        Raises:
            RoundOver: the round was closed meanwhile; `into` then holds parts of two models.
        """
        messages.fill(into, self._parts(count_parts(into.size), round_number, tags))

    def deliver(
        self,
        round_number: int,
        task_name: str,
        clips: int,
        metrics: dict[str, Any],
        update: Vector | None,
    ) -> None:
        """Deliver what a task returned: metrics, and the new weights, float32 `[size]`, if it trained."""
        results = aggregator_pb2.TaskResults(
            header=self._header,
            round_number=round_number,
            task_name=task_name,
            data_size=clips,
            tensors=[messages.metric_message(name, value, round_number) for name, value in metrics.items()],
        )

        def send() -> Any:
            again = aggregator_pb2.TaskResults()  # a repeated upload starts from the same head
            again.CopyFrom(results)
            return self._stub.SendLocalTaskResults(messages.upload(again, update))

        self._patiently(send)

    def _parts(self, count: int, round_number: int, tags: tuple[str, ...]) -> Iterator[bytes]:
        """Yield the parts of a model in order; a stream that breaks off goes on from where it broke."""
        stream: Any = None
        number = 0
        try:
            while number < count:
                try:
                    data = next(stream) if stream is not None else None
                except (StopIteration, grpc.RpcError):
                    data = None
                if data is None:
                    data, stream = self._patiently(partial(self._stream_from, number, round_number, tags))
                if not data:
                    raise RoundOver(f"round {round_number}")
                yield data
                number += 1
        finally:
            if stream is not None:
                stream.cancel()

    def _stream_from(self, number: int, round_number: int, tags: tuple[str, ...]) -> tuple[bytes, Any]:
        """Ask for a model from part `number` on; returns that part, and what yields the next ones."""
        stream = self._stub.GetAggregatedTensor(
            aggregator_pb2.GetAggregatedTensorRequest(
                header=self._header,
                tensor_name=part_name(number),
                round_number=round_number,
                tags=tags,
            )
        )
        return next(stream, b""), stream

    def _patiently(self, call: Callable[[], Reply]) -> Reply:
        """Repeat `call` while the aggregator cannot be reached, with growing pauses, until patience ends.

        Raises:
            AggregatorUnreachable: patience ended, or the aggregator answered with an error.
            ExperimentOver: the answer is another submission's.
        """
        give_up_at = time.monotonic() + self._patience
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                reply = call()
                self._was_reached = True
                return reply
            except grpc.RpcError as error:
                if error.code() == grpc.StatusCode.UNAUTHENTICATED or f"{self._header.receiver} != " in (
                    error.details() or ""
                ):
                    raise ExperimentOver("another experiment has begun") from None
                if error.code() not in PASSING:
                    raise AggregatorUnreachable(f"the aggregator refused: {error.details()}") from error
                if time.monotonic() + pause > give_up_at:
                    lost = AggregatorUnreachable(
                        f"the aggregator did not answer for {self._patience:.0f} s: {error.details()}"
                    )
                    lost.was_reached = self._was_reached
                    raise lost from error
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
