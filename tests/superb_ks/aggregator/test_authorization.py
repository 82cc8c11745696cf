"""Who may call the aggregator: its table, and the check in front of the service."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from openfl.protocols import aggregator_pb2

from certificates.federation import make_certificates
from superb_ks.aggregator import service as aggregator_service
from superb_ks.aggregator.authorization import Refused, authorize, owner
from superb_ks.collaborator.aggregator_client import AggregatorStub
from superb_ks.transport.messages import EXPERIMENT, SERVICE
from tests.support.tls_lab import HERE, channel_credentials

EXPERIMENT_ID = "the experiment's id"
ONE, TWO = "spiffe://superb-ks/envoy/env_one", "spiffe://superb-ks/envoy/env_two"


METHODS = ("GetAggregatedTensor", "GetTasks", "SendLocalTaskResults")
# OpenFL 1.7.1 defines these and serves none of them; nor do we.
NOT_SERVED = {"GetExperimentDescription", "GetMetricStream", "GetTrainedModel"}


def test_what_has_no_check_is_not_served(certificates: Path) -> None:
    methods = aggregator_pb2.DESCRIPTOR.services_by_name["Aggregator"].methods
    assert {method.name for method in methods} == {*METHODS, *NOT_SERVED}
    service = Service()
    with serving(service, certificates, "env_one") as channel:
        for method in (*NOT_SERVED, "Shutdown"):
            call = channel.unary_unary(f"/{SERVICE}/{method}")
            with pytest.raises(grpc.RpcError) as refused:
                call(b"", metadata=((EXPERIMENT, EXPERIMENT_ID.encode()),))
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert service.messages == []


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("caller", "sender", "words"),
    [
        (ONE, "env_one", ""),
        (ONE, "env_two", "it calls itself 'env_two'"),
        (ONE, "", "it calls itself ''"),
        ("spiffe://superb-ks/envoy/env_three", "env_three", "it is not enrolled"),
        ("spiffe://superb-ks/user/env_one", "env_one", "{} is for envoys"),
        ("spiffe://superb-ks/director/director", "env_one", "{} is for envoys"),
        ("spiffe://elsewhere/envoy/env_one", "env_one", "{} is for envoys"),
        ("nobody", "env_one", "{} is for envoys"),
    ],
)
def test_the_table(method: str, caller: str, sender: str, words: str) -> None:
    if not words:
        authorize(method, caller, ["env_one", "env_two"], sender)
        return
    with pytest.raises(Refused) as refused:
        authorize(method, caller, ["env_one", "env_two"], sender)
    assert str(refused.value) == words.format(method)
    assert refused.value.code is grpc.StatusCode.PERMISSION_DENIED


def test_whose_certificate_it_is() -> None:
    assert owner({"peer_spiffe_id": [ONE.encode()]}) == ONE
    assert owner({}) == owner({"peer_spiffe_id": [ONE.encode(), TWO.encode()]}) == "nobody"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    make_certificates(folder, envoys=["env_one", "env_two", "env_three"])
    return folder


class Service:
    """Counts what gets through to it; `use_tls` and `aggregator` are OpenFL's names."""

    def __init__(self, *, use_tls: bool = True) -> None:
        self.use_tls = use_tls
        self.messages: list[Any] = []
        self.aggregator = SimpleNamespace(
            authorized_cols=["env_one", "env_two"],
            federation_uuid=EXPERIMENT_ID,
            parts=lambda *_: iter([b"one", b"two"]),
            receive=lambda _, parts: self.messages.extend(parts),
            send_local_task_results=lambda *_: None,
        )

    def validate_collaborator(self, request: Any, context: Any) -> None:
        """OpenFL's own look at the certificate, which comes after ours."""

    def check_request(self, request: Any) -> None:
        """OpenFL's own look at the header, which comes after ours."""
        self.messages.append(request.header.sender)

    def GetTasks(self, request: Any, context: Any) -> Any:  # noqa: N802 (gRPC's name)
        self.messages.append(request.header.sender)
        return aggregator_pb2.GetTasksResponse(round_number=3)

    def get_header(self, name: str) -> Any:
        return aggregator_pb2.MessageHeader(receiver=name)


@contextmanager
def serving(service: Service, certificates: Path, name: str) -> Iterator[grpc.Channel]:
    """Serve over mutual TLS, and connect with the certificate of `name`."""
    files = ("private_key.pem", "certificate.pem", "root_certificate.pem")
    key, own, root = ((certificates / "director" / each).read_bytes() for each in files)
    server = grpc.server(ThreadPoolExecutor(2))
    aggregator_service.add_servicer_to_server(service, server)
    credentials = grpc.ssl_server_credentials([(key, own)], root, require_client_auth=True)
    port = server.add_secure_port("localhost:0", credentials)
    server.start()
    try:
        with grpc.secure_channel(f"localhost:{port}", channel_credentials(certificates / name)) as channel:
            yield channel
    finally:
        server.stop(None).wait()


@contextmanager
def stub(
    service: Service, certificates: Path, name: str, shown: str = EXPERIMENT_ID
) -> Iterator[AggregatorStub]:
    """Call with the certificate of `name`, showing an experiment's id."""
    with serving(service, certificates, name) as channel:
        yield AggregatorStub(channel, shown)


@pytest.mark.parametrize("shown", ["", "another"])
def test_a_certificate_alone_is_not_enough(
    certificates: Path, caplog: pytest.LogCaptureFixture, shown: str
) -> None:
    service = Service()
    header = aggregator_pb2.MessageHeader(sender="env_one")
    with stub(service, certificates, "env_one", shown) as calls:
        for _ in range(3):
            with pytest.raises(grpc.RpcError) as refused:
                calls.GetTasks(aggregator_pb2.GetTasksRequest(header=header))
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert service.messages == []
    told = [each for each in caplog.records if "does not show the experiment's id" in each.getMessage()]
    assert [each.levelname for each in told] == ["WARNING"]
    assert f"of {ONE} at " in told[0].getMessage()


def upload(sender: str, *more: bytes) -> Iterator[bytes]:
    head = aggregator_pb2.TaskResults(header=aggregator_pb2.MessageHeader(sender=sender), task_name="train")
    return iter([head.SerializeToString(), *more])


def test_what_is_an_envoys_own_arrives_whole(certificates: Path) -> None:
    service = Service()
    header = aggregator_pb2.MessageHeader(sender="env_one")
    with stub(service, certificates, "env_one") as calls:
        assert calls.GetTasks(aggregator_pb2.GetTasksRequest(header=header)).round_number == 3
        parts = calls.GetAggregatedTensor(aggregator_pb2.GetAggregatedTensorRequest(header=header))
        assert list(parts) == [b"one", b"two"]
        calls.SendLocalTaskResults(upload("env_one", b"first", b"second"))
    assert service.messages == ["env_one", "env_one", "env_one", b"first", b"second"]


@pytest.mark.parametrize(
    ("stream", "code"),
    [
        (upload("env_two", b"garbage"), grpc.StatusCode.PERMISSION_DENIED),
        (iter([b"\xff\xff"]), grpc.StatusCode.INVALID_ARGUMENT),
        (iter([]), grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
def test_another_ones_upload_is_not_even_begun(
    certificates: Path, caplog: pytest.LogCaptureFixture, stream: Iterator[bytes], code: grpc.StatusCode
) -> None:
    """OpenFL's service reads all of it before it asks who sends it: it would take the other's place."""
    service = Service()
    with stub(service, certificates, "env_one") as calls, pytest.raises(grpc.RpcError) as refused:
        calls.SendLocalTaskResults(stream)
    assert refused.value.code() is code
    assert service.messages == []
    if code is grpc.StatusCode.PERMISSION_DENIED:
        assert re.search(f"Refused SendLocalTaskResults of {ONE}{HERE}: ", caplog.text)


@pytest.mark.parametrize(
    ("name", "words"), [("notebook", "is for envoys"), ("env_three", "it is not enrolled")]
)
def test_a_strangers_certificate_is_enough_to_refuse_it(certificates: Path, name: str, words: str) -> None:
    """It sends no message, and so would hold a thread until it is given up."""
    over = threading.Event()

    def silent() -> Iterator[bytes]:
        over.wait(20)
        yield from ()

    with stub(Service(), certificates, name) as calls:
        call: Any = calls.SendLocalTaskResults.func
        answer = call.future(silent(), timeout=15, **calls.SendLocalTaskResults.keywords)
        try:
            assert answer.code() is grpc.StatusCode.PERMISSION_DENIED
            assert words in answer.details()
        finally:
            over.set()


def test_without_tls_no_certificate_is_asked_for() -> None:
    service, server = Service(use_tls=False), grpc.server(ThreadPoolExecutor(1))
    aggregator_service.add_servicer_to_server(service, server)
    port = server.add_insecure_port("localhost:0")
    server.start()
    try:
        with grpc.insecure_channel(f"localhost:{port}") as channel:
            header = aggregator_pb2.MessageHeader(sender="env_two")
            request = aggregator_pb2.GetTasksRequest(header=header)
            assert AggregatorStub(channel, EXPERIMENT_ID).GetTasks(request).round_number == 3
    finally:
        server.stop(None).wait()
