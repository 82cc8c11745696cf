"""A federation with mutual TLS: it works, and nobody speaks to it in plain text or without a certificate."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from openfl.protocols import aggregator_pb2, aggregator_pb2_grpc, director_pb2, director_pb2_grpc

from superb_notebook.connect import FederationError, connect
from superb_notebook.experiment import attach, list_experiments
from tests.support.lab import at, follow
from tests.support.sine_experiment import Script
from tests.support.tls_lab import TlsLab

pytestmark = pytest.mark.federation


@pytest.fixture(scope="module")
def tls_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsLab]:
    with TlsLab(tmp_path_factory.mktemp("tls"), envoys=2) as lab:
        yield lab


def refusal(channel: grpc.Channel, of_aggregator: bool = False) -> grpc.StatusCode:
    """Call over a channel; returns how it was refused."""
    call, request = (
        (aggregator_pb2_grpc.AggregatorStub(channel).GetTasks, aggregator_pb2.GetTasksRequest())
        if of_aggregator
        else (director_pb2_grpc.DirectorStub(channel).GetEnvoys, director_pb2.GetEnvoysRequest())
    )
    with channel, pytest.raises(grpc.RpcError) as refused:
        call(request, timeout=10)
    return refused.value.code()


def without_certificate(lab: TlsLab, port: int) -> grpc.Channel:
    root = (lab.certificates / "authority" / "certificate.pem").read_bytes()
    return grpc.secure_channel(f"localhost:{port}", grpc.ssl_channel_credentials(root))


def test_an_experiment_over_tls_while_others_knock_in_vain(tls_lab: TlsLab) -> None:
    refused = []

    def knock() -> None:
        for port in (tls_lab.director_port, tls_lab.aggregator_port):
            of_aggregator = port == tls_lab.aggregator_port
            refused.append(refusal(grpc.insecure_channel(f"localhost:{port}"), of_aggregator))
            refused.append(refusal(without_certificate(tls_lab, port), of_aggregator))

    script = Script(seconds=dict.fromkeys(tls_lab.ranks, 0.2))
    outcome = tls_lab.run(script, (at(0, tls_lab.first, "train"), knock), rounds=3)
    assert outcome.status == "finished", outcome.error
    assert refused == [grpc.StatusCode.UNAVAILABLE] * 4
    for name in tls_lab.envoy_names:
        assert outcome.rounds("train", name) == [0, 1, 2]
    assert not outcome.of("dropped")
    assert outcome.weights is not None


def test_the_director_knows_the_user_by_the_certificate(tls_lab: TlsLab) -> None:
    experiment = tls_lab.submit(Script(seconds=dict.fromkeys(tls_lab.ranks, 0.5)), name="stopped", rounds=50)
    federation = connect(tls_lab.settings())
    attach(federation, "stopped").stop()
    assert follow(experiment).status == "stopped"
    assert list_experiments(federation)["stopped"] == "stopped"


def test_a_notebook_without_certificates_is_told(tls_lab: TlsLab) -> None:
    with pytest.raises(FederationError, match=r"no director answers at localhost:\d+ \(UNAVAILABLE\)"):
        connect(tls_lab.settings(addresses=tls_lab.addresses(certificates=None)))
