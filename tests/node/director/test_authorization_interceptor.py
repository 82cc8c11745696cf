"""The check in front of the director's service, on a real server with mutual TLS."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from openfl.protocols import director_pb2, director_pb2_grpc

from certificates.federation import make_certificates
from superb_node.director.authorization import AccessRules, AuthorizationInterceptor
from tests.support.tls_lab import HERE, channel_credentials

OK, DENIED = grpc.StatusCode.OK, grpc.StatusCode.PERMISSION_DENIED


class Service(director_pb2_grpc.DirectorServicer):
    """Counts what gets through to it."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def WaitExperiment(self, request: Any, context: Any) -> Any:  # noqa: N802 (gRPC's name)
        self.seen.append("WaitExperiment")
        return director_pb2.WaitExperimentResponse(experiment_name="x")

    async def GetExperimentData(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        for number in range(3):
            self.seen.append("GetExperimentData")
            yield director_pb2.ExperimentData(size=number)

    async def SetNewExperiment(self, stream: Any, context: Any) -> Any:  # noqa: N802
        async for message in stream:
            self.seen.append(message.name)
        return director_pb2.SetNewExperimentResponse(accepted=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    make_certificates(folder, envoys=["env_one", "env_two"])
    return folder


def call(certificates: Path, name: str, method: str, request: Any) -> tuple[grpc.StatusCode, Any, list[str]]:
    """Call a method with the certificate of ``name``; returns how it ended, the reply, what was seen."""

    async def served() -> tuple[grpc.StatusCode, Any, list[str]]:
        service = Service()
        files = ("private_key.pem", "certificate.pem", "root_certificate.pem")
        key, own, root = ((certificates / "director" / each).read_bytes() for each in files)
        server = grpc.aio.server(interceptors=[AuthorizationInterceptor(AccessRules(["env_one"]))])
        director_pb2_grpc.add_DirectorServicer_to_server(service, server)
        credentials = grpc.ssl_server_credentials([(key, own)], root, require_client_auth=True)
        port = server.add_secure_port("localhost:0", credentials)
        await server.start()
        try:
            own_credentials = channel_credentials(certificates / name)
            async with grpc.aio.secure_channel(f"localhost:{port}", own_credentials) as channel:
                try:
                    reply = getattr(director_pb2_grpc.DirectorStub(channel), method)(request)
                    streams = method == "GetExperimentData"
                    return OK, [each async for each in reply] if streams else await reply, service.seen
                except grpc.aio.AioRpcError as error:
                    return error.code(), error.details(), service.seen
        finally:
            await server.stop(None)

    return asyncio.run(served())


def test_calls_by_the_rules_get_through_whole(certificates: Path) -> None:
    waits = director_pb2.WaitExperimentRequest(collaborator_name="env_one")
    code, reply, _ = call(certificates, "env_one", "WaitExperiment", waits)
    assert (code, reply.experiment_name) == (OK, "x")
    text = director_pb2.GetExperimentDataRequest(collaborator_name="env_one")
    code, chunks, _ = call(certificates, "env_one", "GetExperimentData", text)
    assert (code, [chunk.size for chunk in chunks]) == (OK, [0, 1, 2])
    messages = [director_pb2.ExperimentInfo(name=name) for name in ("a", "b")]
    code, _, seen = call(certificates, "notebook", "SetNewExperiment", iter(messages))
    assert (code, seen) == (OK, ["a", "b"])


@pytest.mark.parametrize(
    ("name", "method", "request_", "words"),
    [
        (
            "env_one",
            "WaitExperiment",
            director_pb2.WaitExperimentRequest(collaborator_name="env_two"),
            "itself",
        ),
        (
            "env_two",
            "WaitExperiment",
            director_pb2.WaitExperimentRequest(collaborator_name="env_two"),
            "list",
        ),
        ("env_one", "GetExperimentData", director_pb2.GetExperimentDataRequest(), "calls itself ''"),
        ("env_one", "SetNewExperiment", [director_pb2.ExperimentInfo(name="evil")], "is for users"),
        ("director", "GetEnvoys", director_pb2.GetEnvoysRequest(), None),
    ],
)
def test_others_do_not_reach_the_service(
    certificates: Path,
    caplog: pytest.LogCaptureFixture,
    name: str,
    method: str,
    request_: Any,
    words: str | None,
) -> None:
    code, details, seen = call(
        certificates, name, method, iter(request_) if isinstance(request_, list) else request_
    )
    assert seen == []
    if words is None:  # a server's certificate serves no client: TLS itself turns it away
        assert code is grpc.StatusCode.UNAVAILABLE
        return
    assert code is DENIED
    assert words in details
    (line,) = caplog.messages
    assert re.match(f"Refused {method} of envoy {name!r}{HERE}: ", line)


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("WaitExperiment", director_pb2.WaitExperimentRequest),
        ("GetExperimentData", director_pb2.GetExperimentDataRequest),
    ],
)
def test_a_name_of_megabytes_reaches_neither_the_log_nor_the_answer(
    certificates: Path, caplog: pytest.LogCaptureFixture, method: str, kind: Any
) -> None:
    code, details, _ = call(certificates, "env_one", method, kind(collaborator_name=3_000_000 * "x"))
    assert code is DENIED
    assert details == f"{method} of envoy 'env_one': it calls itself '{100 * 'x'}'..."
    assert sum(map(len, caplog.messages)) < 500
