"""The aggregator's service on a real port: who holds its threads, and for how long."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from openfl.protocols import aggregator_pb2_grpc
from openfl.transport.grpc import aggregator_server
from openfl.transport.grpc.grpc_channel_options import channel_options

from superb_ks.aggregator import limits, service
from superb_ks.aggregator.limits import SERVER_OPTIONS, StalledStream, TimedCall
from superb_ks.aggregator.service import GuardedService, Method, correct_aggregator_service
from superb_ks.transport.messages import EXPERIMENT

KNOWN = ((EXPERIMENT, b"the id"),)
SERVICE = "test.Service"
LARGE_AND_DIRECT = [("grpc.max_receive_message_length", 2**22), ("grpc.enable_http_proxy", 0)]


class Server:
    """Three methods behind the guard, and one thread."""

    def __init__(self) -> None:
        self.raised: list[BaseException] = []
        self.pause = 0.0
        self.over = threading.Event()
        methods = {
            "One": Method(bytes, lambda request, *_: [request], bytes),
            "Many": Method(bytes, self._many, bytes),
            "Model": Method(bytes, self._model, bytes),
        }
        self.server = grpc.server(ThreadPoolExecutor(1), options=list(SERVER_OPTIONS.items()))
        self.service = GuardedService(SERVICE, methods, "the id", lambda *_: "somebody")
        self.server.add_generic_rpc_handlers((self.service,))
        self.port = self.server.add_insecure_port("localhost:0")
        self.server.start()

    def _model(self, request: bytes, *_: Any) -> Iterator[bytes]:
        """Answer with as many parts as the request has bytes."""
        for _byte in request:
            if request == b"damaged":
                raise ValueError("it is damaged")
            yield bytes(2**20)

    def _many(self, first: bytes, others: Iterator[bytes], _: Any) -> Iterator[bytes]:
        total = 0
        try:
            for message in itertools.chain((first,), others):
                total += len(message)
                self.over.wait(self.pause)
                if message == b"damaged":
                    raise ValueError("it is damaged")
        except StalledStream as stalled:
            self.raised.append(stalled)
            raise
        yield str(total).encode()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.over.set()
    server.server.stop(0).wait()


@pytest.fixture
def call(server: Server) -> Iterator[Callable[..., grpc.Future]]:
    """Return what begins a call; with `stays_open` it never ends its stream."""
    over = threading.Event()
    with grpc.insecure_channel(f"localhost:{server.port}", [("grpc.enable_http_proxy", 0)]) as channel:

        def begin(
            method: str, *messages: bytes, headers: Any = KNOWN, stays_open: bool = False
        ) -> grpc.Future:
            def sent() -> Iterator[bytes]:
                yield from messages
                if stays_open:
                    over.wait()

            return channel.stream_unary(f"/{SERVICE}/{method}").future(sent(), metadata=headers, timeout=20)

        yield begin
        over.set()


@pytest.mark.parametrize("headers", [(), ((EXPERIMENT, b"another"),), (*KNOWN, *KNOWN)])
@pytest.mark.parametrize("method", ["One", "Many"])
def test_a_stranger_holds_no_thread(server: Server, call, method: str, headers: Any) -> None:
    """There is one thread, and ten strangers who say nothing."""
    strangers = [call(method, headers=headers, stays_open=True) for _ in range(10)]
    for stranger in strangers:
        assert stranger.code() is grpc.StatusCode.UNAUTHENTICATED
    assert call("One", b"hello").result() == b"hello"


@pytest.mark.parametrize(("method", "messages"), [("One", ()), ("Many", ()), ("Many", (b"a",) * 3)])
def test_who_sends_no_more_is_given_up(server: Server, call, monkeypatch, caplog, method, messages) -> None:
    monkeypatch.setattr(service, "PART_TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr(limits, "MESSAGE_TIMEOUT_SECONDS", 20.0 if messages else 0.3)
    monkeypatch.setattr(limits, "WATCH_SECONDS", 0.05)
    answer = call(method, *messages, stays_open=True)
    assert answer.code() is grpc.StatusCode.CANCELLED
    monkeypatch.undo()
    assert call("One", b"hello").result() == b"hello"  # the thread is free again
    assert len(server.raised) == bool(messages)  # what serves an upload is told
    assert "Gave up a call of " in caplog.text and "Traceback" not in caplog.text


def test_who_takes_no_more_is_given_up(server: Server, call, monkeypatch, caplog) -> None:
    """A model of 100 MiB, of which the caller takes one part; gRPC holds a few more for it."""
    monkeypatch.setattr(service, "PART_TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr(limits, "WATCH_SECONDS", 0.05)
    with grpc.insecure_channel(f"localhost:{server.port}", LARGE_AND_DIRECT) as channel:
        model = channel.unary_stream(f"/{SERVICE}/Model")(b"." * 100, metadata=KNOWN, timeout=20)
        next(model)
        assert call("One", b"hello").result() == b"hello"  # the thread is free again
        with pytest.raises(grpc.RpcError):
            list(model)
    assert model.code() is grpc.StatusCode.CANCELLED
    wait_for(lambda: not watches())
    assert "Gave up a call of " in caplog.text
    assert not any(server.service._calls._counts.values())


def watches() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "call under way"]


def test_a_model_arrives_whole_and_a_damaged_request_is_refused(server: Server, caplog) -> None:
    with grpc.insecure_channel(f"localhost:{server.port}", LARGE_AND_DIRECT) as channel:
        model = channel.unary_stream(f"/{SERVICE}/Model")
        assert len(list(model(b"." * 20, metadata=KNOWN, timeout=20))) == 20
        with pytest.raises(grpc.RpcError) as refused:
            list(model(b"damaged", metadata=KNOWN, timeout=20))
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        with pytest.raises(grpc.RpcError) as refused:
            list(model(b"...", timeout=20))
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert "Traceback" not in caplog.text


def test_one_caller_leaves_threads_to_the_others() -> None:
    """Two callers, and as many threads as one of them would take."""

    def caller(method: str, context: Any, request: Any) -> str:
        return str(dict(context.invocation_metadata())["name"])

    most = limits.MAX_CALLS_PER_CALLER
    methods = {"One": Method(bytes, lambda request, *_: [request], bytes)}
    server = grpc.server(ThreadPoolExecutor(most + 1))
    server.add_generic_rpc_handlers((GuardedService(SERVICE, methods, "the id", caller),))
    port = server.add_insecure_port("localhost:0")
    server.start()
    over = threading.Event()

    def silent() -> Iterator[bytes]:
        over.wait()
        yield from ()

    with grpc.insecure_channel(f"localhost:{port}", [("grpc.enable_http_proxy", 0)]) as channel:
        one = channel.stream_unary(f"/{SERVICE}/One")
        greedy = [
            one.future(silent(), metadata=(*KNOWN, ("name", "greedy")), timeout=20) for _ in range(most + 3)
        ]
        try:
            assert one(iter([b"hello"]), metadata=(*KNOWN, ("name", "other")), timeout=10) == b"hello"
            wait_for(lambda: sum(each.done() for each in greedy) == 3)
            refused = [each.code() for each in greedy if each.done()]
            assert refused == [grpc.StatusCode.UNAVAILABLE] * 3
        finally:
            for each in greedy:
                each.cancel()
            over.set()
        wait_for(lambda: answers(one, "greedy"))  # its own calls are over, so it has room again
    server.stop(0).wait()


def answers(one: Any, name: str) -> bool:
    try:
        return bool(one(iter([b"again"]), metadata=(*KNOWN, ("name", name)), timeout=5) == b"again")
    except grpc.RpcError:
        return False


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_many_small_pieces_are_no_progress(monkeypatch) -> None:
    """Each comes in time; together they are less than a part in the time for one."""
    cancelled = threading.Event()
    context = SimpleNamespace(cancel=cancelled.set, peer=lambda: "somebody")

    def trickle() -> Iterator[bytes]:
        while not cancelled.is_set():
            time.sleep(0.05)
            yield b"a"
        raise grpc.RpcError

    monkeypatch.setattr(limits, "WATCH_SECONDS", 0.02)
    with TimedCall(context) as call:
        call.timeout = 0.3
        with pytest.raises(StalledStream, match="less than a part in 0.3 s"):
            list(call.receive(trickle()))


def test_time_in_which_nobody_asks_does_not_count(server: Server, call, monkeypatch) -> None:
    monkeypatch.setattr(service, "PART_TIMEOUT_SECONDS", 1.5)
    monkeypatch.setattr(limits, "WATCH_SECONDS", 0.05)
    server.pause = 0.6
    assert call("Many", *[b"a"] * 4).result() == b"4"


def test_what_is_damaged_is_told_without_a_traceback(call, caplog) -> None:
    answer = call("Many", b"damaged")
    assert (answer.code(), answer.details()) == (grpc.StatusCode.INVALID_ARGUMENT, "it is damaged")
    assert "Refused Many of " in caplog.text and "Traceback" not in caplog.text


def test_a_long_message_is_refused(call) -> None:
    assert call("One", bytes(limits.MAX_MESSAGE_BYTES + 1)).code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_an_upload_that_waits_is_taken_in_no_further_than_a_few_parts(server: Server) -> None:
    """Uploads that went through quickly tell gRPC that the line is fast, and it would take in more."""
    taken = 0

    def chunks(count: int) -> Iterator[bytes]:
        nonlocal taken
        for _ in range(count):
            taken += 1
            yield bytes(2**20)

    with grpc.insecure_channel(f"localhost:{server.port}", LARGE_AND_DIRECT) as channel:
        upload = channel.stream_unary(f"/{SERVICE}/Many")
        for _ in range(3):
            assert upload(chunks(200), metadata=KNOWN, timeout=60) == str(200 * 2**20).encode()
        taken, server.pause = 0, 1000.0
        waiting = upload.future(chunks(200), metadata=KNOWN)
        time.sleep(2)
        waiting.cancel()
    assert 1 <= taken <= 12


def test_openfls_server_gets_the_options(monkeypatch) -> None:
    for module, name in (  # what is put in OpenFL's place is put back
        (aggregator_pb2_grpc, "add_AggregatorServicer_to_server"),
        (aggregator_server, "cpu_count"),
        (aggregator_server, "channel_options"),
    ):
        monkeypatch.setattr(module, name, getattr(module, name))
    assert dict(channel_options)["grpc.max_receive_message_length"] == 2**30, "OpenFL has a limit itself now"
    correct_aggregator_service()
    options = dict(aggregator_server.channel_options)
    assert options.items() >= SERVER_OPTIONS.items()
    assert options["grpc.max_send_message_length"] == 2**30  # the rest is OpenFL's
