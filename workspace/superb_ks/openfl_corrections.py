"""Corrections of OpenFL 1.7.1's aggregator service, each with the behaviour that it corrects.

They travel with the experiment and take effect on the director, at the names by which OpenFL looks things up.
The director's and the envoy's own corrections are in ``director/director_corrections.py`` and
``envoy/envoy_corrections.py``; what a collaborator corrects is in ``connection.py``. Nothing of OpenFL is
copied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from openfl.protocols import aggregator_pb2_grpc
from openfl.protocols import utils as protocol_utils
from openfl.transport.grpc import aggregator_server

from superb_ks import codec

# Collaborators that wait for the next round, or for their turn to upload, hold one thread each.
AGGREGATOR_THREADS = 64


def correct_aggregator_service(receive: Callable[[Any, Iterable[Any]], Any]) -> None:
    """Let ``receive(TaskResults, stream)`` read uploads; call before the aggregator's gRPC server is built.

    Corrects: ``datastream_to_proto`` grows a ``bytes`` object chunk by chunk, which copies everything
    received so far each time (21 s instead of 0.2 s for wav2vec2-base); every weight is copied several
    times more (see ``codec.py``); and the server has one thread for each processor, so that two
    collaborators that wait keep a third from delivering its update.
    """
    protocol_utils.datastream_to_proto = receive
    aggregator_pb2_grpc.add_AggregatorServicer_to_server = codec.add_servicer_to_server
    aggregator_server.cpu_count = lambda: AGGREGATOR_THREADS
