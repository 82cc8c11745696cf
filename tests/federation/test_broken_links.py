"""What gRPC notices of a link that is cut while somebody waits, with the corrections and as shipped."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
from openfl.protocols import aggregator_pb2, aggregator_pb2_grpc, director_pb2, director_pb2_grpc
from openfl.transport.grpc.grpc_channel_options import channel_options

from superb_ks.collaborator.aggregator_client import AggregatorConnection, AggregatorUnreachable
from superb_ks.transport import messages
from superb_ks.transport.parts import PART_BYTES, part_number
from superb_node import channel_options as node_options
from tests.support.line import Line

# The settings under test, with a tenth of their seconds.
HURRY = 10
SETTINGS = (
    "grpc.keepalive_time_ms",
    "grpc.keepalive_timeout_ms",
    "grpc.http2.ping_timeout_ms",
    "grpc.http2.max_pings_without_data",
    "grpc.http2.min_ping_interval_without_data_ms",
)
# What gRPC does by itself is waited for only where everything is.
CORRECTED = [pytest.param(False, marks=pytest.mark.slow), True]
NOTICED_SECONDS = (node_options.PING_SECONDS + node_options.PING_ANSWER_SECONDS) / HURRY + 3
Options = list[tuple[str, int]]

node_options.set_client_options()
node_options.set_server_options()


def hurried(corrected: bool) -> Options:
    """Return the options of both sides, without those under test unless `corrected`."""
    options = dict(channel_options)
    hurry = {key: options.pop(key) // HURRY for key in SETTINGS}
    return list({**options, **(hurry if corrected else {})}.items())


class Waiting(director_pb2_grpc.DirectorServicer):
    """A director that has no experiment."""

    def __init__(self) -> None:
        self.called, self.client_gone, self.over = (threading.Event() for _ in range(3))

    def WaitExperiment(self, request, context):  # noqa: N802
        context.add_callback(self.client_gone.set)
        self.called.set()
        self.over.wait()
        return director_pb2.WaitExperimentResponse(experiment_name="exp")


@contextmanager
def waiting_director(options: Options) -> Iterator[tuple[Waiting, int]]:
    servicer = Waiting()
    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool, options=options)
        director_pb2_grpc.add_DirectorServicer_to_server(servicer, server)
        port = server.add_insecure_port("localhost:0")
        server.start()
        try:
            yield servicer, port
        finally:
            servicer.over.set()
            server.stop(0).wait()


def wait_for_an_experiment(servicer: Waiting, port: int, options: Options) -> grpc.Future:
    channel = grpc.insecure_channel(f"localhost:{port}", options=options)
    stub = director_pb2_grpc.DirectorStub(channel)
    call = stub.WaitExperiment.future(director_pb2.WaitExperimentRequest(collaborator_name="env_one"))
    assert servicer.called.wait(30)
    call.channel = channel  # kept as long as the call
    return call


def test_the_director_lets_clients_ping_as_often_as_they_do() -> None:
    assert node_options.MIN_PING_SECONDS < node_options.PING_SECONDS


@pytest.mark.parametrize("corrected", CORRECTED)
def test_who_waits_notices_a_cut(corrected: bool) -> None:
    options = hurried(corrected)
    with waiting_director(options) as (servicer, port), Line(port) as line:
        call = wait_for_an_experiment(servicer, line.port, options)
        line.cut()
        if corrected:
            assert call.exception(NOTICED_SECONDS).code() is grpc.StatusCode.UNAVAILABLE
            assert servicer.client_gone.wait(NOTICED_SECONDS), "the director's side of it"
        else:
            with pytest.raises(grpc.FutureTimeoutError):
                call.exception(NOTICED_SECONDS)
            assert not servicer.client_gone.is_set(), "gRPC notices it by itself now"
        call.channel.close()


@pytest.mark.parametrize("corrected", CORRECTED)
def test_an_envoy_may_wait_for_long_without_offence(corrected: bool) -> None:
    """Eight pings; gRPC's server bears two of them when nobody has told it to expect more."""
    with waiting_director(hurried(corrected)) as (servicer, port):
        call = wait_for_an_experiment(servicer, port, hurried(corrected=True))
        if corrected:
            with pytest.raises(grpc.FutureTimeoutError):
                call.exception(8 * node_options.PING_SECONDS / HURRY)
            servicer.over.set()
            assert call.result(30).experiment_name == "exp"
        else:
            error = call.exception(8 * node_options.PING_SECONDS / HURRY)
            assert "too_many_pings" in error.details().lower().replace(" ", "_")
        call.channel.close()


class OneRound(aggregator_pb2_grpc.AggregatorServicer):
    """An aggregator without any work."""

    def GetTasks(self, request, context):  # noqa: N802
        return aggregator_pb2.GetTasksResponse()


class BreakingModel:
    """Sends a model of five parts, a few at a time: each stream breaks off, or ends too early."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, request, context):
        self.asked.append(request.tensor_name)
        first = part_number(request.tensor_name)
        for number in range(first, min(first + 2, 5)):
            yield bytes([number]) * PART_BYTES
        if first == 0:
            context.abort(grpc.StatusCode.UNAVAILABLE, "the link is cut")


def test_a_model_goes_on_from_where_its_stream_broke() -> None:
    model = BreakingModel()
    handler = grpc.unary_stream_rpc_method_handler(
        model, aggregator_pb2.GetAggregatedTensorRequest.FromString
    )
    service = grpc.method_handlers_generic_handler(messages.SERVICE, {"GetAggregatedTensor": handler})
    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool)
        server.add_generic_rpc_handlers((service,))
        port = server.add_insecure_port("localhost:0")
        server.start()
        with grpc.insecure_channel(f"localhost:{port}", options=channel_options) as channel:
            connection = AggregatorConnection(client_on(channel), "env_one", patience_seconds=5)
            vector = np.zeros(5 * PART_BYTES // 4, np.float32)
            connection.fetch(vector, 0, messages.CURRENT)
        server.stop(0).wait()
    expected = np.repeat(np.arange(5, dtype=np.uint8), PART_BYTES)
    assert np.array_equal(vector.view(np.uint8), expected)
    assert model.asked == ["trained/0", "trained/2", "trained/4"]


def client_on(channel: grpc.Channel) -> SimpleNamespace:
    """Return what a collaborator takes of OpenFL's client."""
    header = aggregator_pb2.MessageHeader(sender="env_one", receiver="aggregator")
    return SimpleNamespace(
        channel=channel, header=header, federation_uuid="federation", _set_header=lambda name: None
    )


def lost_aggregator(reached: bool) -> AggregatorUnreachable:
    """Return what a collaborator raises whose aggregator is gone, or never was there."""
    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool)
        aggregator_pb2_grpc.add_AggregatorServicer_to_server(OneRound(), server)
        port = server.add_insecure_port("localhost:0")
        server.start()
        with grpc.insecure_channel(f"localhost:{port}", options=channel_options) as channel:
            connection = AggregatorConnection(client_on(channel), "env_one", patience_seconds=0.5)
            if reached:
                connection.wait_for_tasks()
            server.stop(0).wait()
            started = time.monotonic()
            with pytest.raises(AggregatorUnreachable) as lost:
                connection.wait_for_tasks()
            assert time.monotonic() - started < 30
    return lost.value


@pytest.mark.parametrize("reached", [False, True])
def test_a_collaborator_says_whether_it_lost_the_aggregator_or_never_had_one(reached: bool) -> None:
    assert lost_aggregator(reached).was_reached is reached
