"""Corrections of OpenFL 1.7.1 that travel with the experiment, each with the behaviour it corrects.

The director's and the envoy's own corrections are in ``director/director_corrections.py`` and
``envoy/envoy_corrections.py``. Nothing of OpenFL is copied: functions are replaced where OpenFL looks them up by
name, and instances are wrapped where OpenFL builds them itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import grpc
from openfl.protocols import aggregator_pb2_grpc
from openfl.protocols import utils as protocol_utils
from openfl.transport.grpc import aggregator_server
from openfl.transport.grpc.aggregator_client import AggregatorGRPCClient

# Collaborators that wait for the next round each hold one thread of the aggregator's server.
AGGREGATOR_THREADS = 64


class AggregatorUnreachable(ConnectionError):
    """The aggregator did not answer for longer than a collaborator is willing to wait, or refused."""


def join_upload(proto: Any, stream: Iterable[Any], logger: Any = None) -> Any:
    """Parse an upload after joining its chunks once.

    Corrects: ``datastream_to_proto`` grows a ``bytes`` object chunk by chunk, which copies everything
    received so far each time: 21 s instead of 0.2 s for wav2vec2-base.
    """
    data = b"".join(chunk.npbytes for chunk in stream)
    if not data:
        raise RuntimeError(f"Received empty stream message of type {type(proto)}")
    proto.ParseFromString(data)
    return proto


def correct_aggregator_server() -> None:
    """Replace what the aggregator's gRPC server looks up by name; call before the server is built.

    Corrects: the quadratic upload (see :func:`join_upload`), and a pool of one thread for each processor, in
    which two waiting collaborators keep a third from delivering its update.
    """
    protocol_utils.datastream_to_proto = join_upload
    aggregator_server.cpu_count = lambda: AGGREGATOR_THREADS


class PatientStub:
    """The aggregator's gRPC methods, repeated while it cannot be reached, but not for ever.

    Corrects: OpenFL's client retries a dead port without end, so that a healthy envoy never takes
    another experiment, and retries every other error without end and without a pause.
    """

    def __init__(self, stub: Any, patience_seconds: float) -> None:
        self._stub = stub
        self._patience = patience_seconds

    def GetTasks(self, request: Any) -> Any:  # noqa: N802 (gRPC's name)
        """Ask for tasks."""
        return self._patiently(lambda: self._stub.GetTasks(request))

    def GetAggregatedTensor(self, request: Any) -> Any:  # noqa: N802
        """Fetch a model."""
        return self._patiently(lambda: self._stub.GetAggregatedTensor(request))

    def SendLocalTaskResults(self, chunks: Iterable[Any]) -> Any:  # noqa: N802
        """Deliver results; the chunks are kept, so that a second try sends all of them."""
        kept = list(chunks)
        return self._patiently(lambda: self._stub.SendLocalTaskResults(iter(kept)))

    def _patiently(self, call: Callable[[], Any]) -> Any:
        give_up_at = time.monotonic() + self._patience
        pause = 0.05
        while True:
            try:
                return call()
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.UNAVAILABLE:
                    raise AggregatorUnreachable(f"the aggregator refused: {error.details()}") from error
                if time.monotonic() + pause > give_up_at:
                    raise AggregatorUnreachable(
                        f"the aggregator did not answer for {self._patience:.0f} s: {error.details()}"
                    ) from error
            time.sleep(pause)
            pause = min(2 * pause, 1.0)


def keep_connected(client: AggregatorGRPCClient, patience_seconds: float) -> None:
    """Let ``client`` keep one channel, with bounded retries.

    Corrects: a new connection for every call (over TLS, a handshake for every call), and the endless retries
    described at :class:`PatientStub`.
    """
    client.reconnect = client.disconnect = lambda: None
    client.stub = PatientStub(aggregator_pb2_grpc.AggregatorStub(client.channel), patience_seconds)
