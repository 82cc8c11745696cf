"""Corrections of OpenFL 1.7.1's aggregator service and task runner, each with the behaviour that it corrects.

They travel with the experiment and take effect where it runs, at the names by which OpenFL looks things up.
The director's and the envoy's own corrections are in ``director/director_corrections.py`` and
``envoy/envoy_corrections.py``; what a collaborator corrects is in ``connection.py``. Nothing of OpenFL is
copied.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from openfl.federated.task.task_runner import CoreTaskRunner
from openfl.protocols import aggregator_pb2_grpc
from openfl.protocols import utils as protocol_utils
from openfl.transport.grpc import aggregator_server
from openfl.transport.grpc.grpc_channel_options import channel_options

from superb_ks import codec
from superb_ks.guard import SERVER_OPTIONS

# Collaborators that wait for the next round or for their turn to upload, or that fetch a model, hold one
# thread each; so does a call that sends or takes nothing, for a while (see `stalling.py`). A thread is
# started when there is none to spare.
AGGREGATOR_THREADS = 256


def correct_aggregator_service(receive: Callable[[Any, Iterable[Any]], Any]) -> None:
    """Let ``receive(TaskResults, stream)`` read uploads; call before the aggregator's gRPC server is built.

    Corrects: ``datastream_to_proto`` grows a ``bytes`` object chunk by chunk, which copies everything
    received so far each time (21 s instead of 0.2 s for wav2vec2-base); every weight is copied several
    times more (see ``codec.py``); the server has one thread for each processor, so that two
    collaborators that wait keep a third from delivering its update; and anybody may hold such a thread, and
    memory, for as long as he likes (see ``guard.py``).
    """
    protocol_utils.datastream_to_proto = receive
    aggregator_pb2_grpc.add_AggregatorServicer_to_server = codec.add_servicer_to_server
    aggregator_server.cpu_count = lambda: AGGREGATOR_THREADS
    aggregator_server.channel_options = list({**dict(channel_options), **SERVER_OPTIONS}.items())


def correct_task_runner(adapter: type) -> None:
    """Let a task runner whose framework adapter is an ``adapter`` ask for no tensors before there is a task.

    Corrects: as soon as it has an adapter the task runner fetches all weights, only to note their names,
    which a packed model does not need. For wav2vec2-base that is a second before the first task, and again
    when the experiment is submitted.
    """
    correct = CoreTaskRunner.initialize_tensorkeys_for_functions
    # Long-lived processes import this anew with each experiment; the corrections must not pile up.
    original = getattr(correct, "__wrapped__", correct)

    @functools.wraps(original)
    def initialize_tensorkeys_for_functions(self: CoreTaskRunner, with_opt_vars: bool = False) -> None:
        if not isinstance(self.framework_adapter, adapter):
            original(self, with_opt_vars)

    CoreTaskRunner.initialize_tensorkeys_for_functions = initialize_tensorkeys_for_functions
