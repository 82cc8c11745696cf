"""What callers may hold of the director, and that OpenFL's own service answers with tracebacks."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openfl.protocols import aggregator_pb2_grpc, base_pb2, director_pb2
from openfl.transport import DirectorGRPCServer
from openfl.transport.grpc import aggregator_server
from openfl.transport.grpc import director_server as openfl_server

from superb_ks.aggregator.service import correct_aggregator_service
from superb_node import channel_options
from superb_node.director import limits
from superb_node.director.director import Director
from superb_node.director.experiment_store import Refused
from superb_node.director.limits import (
    Busy,
    Places,
    Stalled,
    announced_size,
    require_legal_heartbeat,
    require_legal_shard,
    timely,
)
from superb_node.director.service import DirectorService
from superb_node.shard_card import MAX_BYTES, read_card
from tests.support.cards import ANY_CARDS, CARD
from tests.support.open_gate import open_gate


def part(size: int) -> director_pb2.ExperimentInfo:
    info = director_pb2.ExperimentInfo(name="new")
    info.experiment_data.size, info.experiment_data.npbytes = size, bytes(size)
    return info


async def arriving(*parts: Any, pause: float = 0.0, stalls: bool = False) -> AsyncIterator[Any]:
    for each in parts:
        await asyncio.sleep(pause)
        yield each
    if stalls:
        await asyncio.sleep(60)


async def received(messages: AsyncIterator[Any]) -> int:
    return len([message async for message in timely(messages)])


def test_places_are_counted_and_given_back() -> None:
    places = Places(2, 1, "viewers")
    for _ in range(2):
        with places.one("ann"):
            with pytest.raises(Busy, match="1 viewers of one author at a time"), places.one("ann"):
                pass
            with places.one("ben"), pytest.raises(Busy, match="2 viewers at a time"), places.one("cat"):
                pass


def test_an_envoys_heartbeat_and_devices_are_bounded() -> None:
    beat = director_pb2.UpdateEnvoyStatusRequest(name="liar")
    require_legal_heartbeat(beat)
    beat.cuda_devices.add(name="x" * limits.HEARTBEAT_BYTES)
    with pytest.raises(Refused, match="heartbeat of envoy 'liar' has over 16,384 bytes"):
        require_legal_heartbeat(beat)
    shard = director_pb2.ShardInfo(sample_shape=["1"], target_shape=["1"], shard_description=CARD)
    require_legal_shard(shard)
    for _ in range(limits.MAX_DEVICES + 1):
        shard.node_info.cuda_devices.add()
    with pytest.raises(Refused, match="over 64 CUDA devices"):
        require_legal_shard(shard)


def test_a_stalled_submission_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PART_TIMEOUT_SECONDS", 0.2)
    with pytest.raises(Stalled, match="bytes in 0.2 s"):
        asyncio.run(received(arriving(part(9), stalls=True)))
    with pytest.raises(Stalled):  # small pieces are no progress
        asyncio.run(received(arriving(*[part(9)] * 20, pause=0.05)))
    whole_parts = [part(limits.PART_BYTES)] * 6
    assert asyncio.run(received(arriving(*whole_parts, pause=0.05))) == 6  # 0.3 s, each in time


@pytest.mark.parametrize("shape", [(), (0,), (-1,), (2**30 + 1,), (3, 4)])
def test_an_absurd_model_is_refused(shape: tuple[int, ...]) -> None:
    head = director_pb2.ExperimentInfo()
    assert announced_size(head) is None
    sizes = base_pb2.MetadataProto(int_list=shape)
    head.model_proto.tensors.append(base_pb2.NamedTensor(name="trained", transformer_metadata=[sizes]))
    with pytest.raises(Refused, match="legal: one number of 1 to"):
        announced_size(head)
    head.model_proto.tensors[0].ClearField("transformer_metadata")
    with pytest.raises(Refused, match=r"shape is \(none\)"):
        announced_size(head)


def test_a_long_shard_one_without_shapes_and_one_without_a_card_are_refused_by_name() -> None:
    shard = director_pb2.ShardInfo(sample_shape=["1"], target_shape=["1"], shard_description=CARD)
    shard.node_info.name = "clinic"
    require_legal_shard(shard)
    shard.node_info.cuda_devices.add(name="x" * MAX_BYTES)
    with pytest.raises(Refused, match="envoy 'clinic' describes itself in .* bytes; 65,536 are legal"):
        require_legal_shard(shard)
    shard.node_info.ClearField("cuda_devices")
    shard.shard_description = "in words"
    with pytest.raises(Refused, match="envoy 'clinic' is left out, .* no shard card: 'in words' is not JSON"):
        require_legal_shard(shard)
    with pytest.raises(Refused, match="no sample_shape"):
        require_legal_shard(director_pb2.ShardInfo(sample_shape=["1"]))


def registers(server: DirectorService, name: str, description: str) -> str:
    request = director_pb2.UpdateShardInfoRequest()
    shard = request.shard_info
    shard.sample_shape.append("16000")
    shard.target_shape.append("1")
    shard.node_info.name, shard.shard_description = name, description.encode("utf-8", "replace").decode()
    try:
        return (
            "accepted" if asyncio.run(server.UpdateShardInfo(request, Call())).accepted else "another shape"
        )
    except Aborted as refused:
        return str(refused)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ANY_CARDS, st.sampled_from(["liar", "aggregator", "Director", "all", "authority", "../a", "a\x1b"]))
def test_whatever_an_envoy_says_of_itself_the_honest_one_beside_it_is_listed(
    server: DirectorService, description: str, name: str
) -> None:
    """The liar is listed with a card of the schema, or refused for good or for its name."""
    assert registers(server, "honest", CARD) == "accepted"
    assert registers(server, name, description) in ("accepted", "FAILED_PRECONDITION", "ALREADY_EXISTS")
    listed = asyncio.run(server.GetEnvoys(director_pb2.GetEnvoysRequest(), Call())).envoy_infos
    cards = {each.shard_info.node_info.name: each.shard_info.shard_description for each in listed}
    assert {"honest"} <= set(cards) <= {"honest", "liar"}
    for text in cards.values():
        read_card(text)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DirectorService:
    monkeypatch.chdir(tmp_path)
    return DirectorService(
        director_cls=Director,
        tls=False,
        listen_host="localhost",
        listen_port=0,
        sample_shape=["16000"],
        target_shape=["1"],
        envoy_health_check_period=5,
        experiments_folder=tmp_path / "experiments",
        gate=open_gate(tmp_path),
    )


class Aborted(Exception):
    """What gRPC raises in a handler that aborts."""


class Call:
    """A call as far as the director asks for it."""

    async def abort(self, code: grpc.StatusCode, details: str) -> None:
        raise Aborted(code.name)

    def peer(self) -> str:
        return "test"

    def invocation_metadata(self) -> tuple[()]:
        return ()


def refused_with(server: Any, method: Any, request: Any) -> str:
    with pytest.raises(Aborted) as aborted:
        asyncio.run(method(server, request, Call()))
    return str(aborted.value)


def test_what_openfl_answers_with_a_traceback_is_refused(server: DirectorService) -> None:
    ours, openfls = DirectorService, DirectorGRPCServer
    shapeless = director_pb2.UpdateShardInfoRequest()
    shapeless.shard_info.node_info.name = "env_one"
    with pytest.raises(KeyError):
        asyncio.run(openfls.UpdateShardInfo(server, shapeless, Call()))
    assert refused_with(server, ours.UpdateShardInfo, shapeless) == "FAILED_PRECONDITION"

    server.director.acknowledge_shard(
        {"node_info": {"name": "env_one"}, "sample_shape": ["16000"], "target_shape": ["1"]}
    )
    more_devices = director_pb2.UpdateEnvoyStatusRequest(name="env_one")
    more_devices.cuda_devices.add(index=3)
    with pytest.raises(KeyError):
        asyncio.run(openfls.UpdateEnvoyStatus(server, more_devices, Call()))
    assert refused_with(server, ours.UpdateEnvoyStatus, more_devices) == "INVALID_ARGUMENT"

    unknown = director_pb2.GetExperimentDescriptionRequest(name="none")
    with pytest.raises(KeyError):
        asyncio.run(openfls.GetExperimentDescription(server, unknown, Call()))
    for unused in (ours.GetExperimentDescription, ours.GetTrainedModel):
        assert refused_with(server, unused, unknown) == "UNIMPLEMENTED"


def test_a_name_that_is_not_registered_is_not_remembered(server: DirectorService) -> None:
    request = director_pb2.WaitExperimentRequest(collaborator_name="x" * 1000)
    assert refused_with(server, DirectorService.WaitExperiment, request) == "NOT_FOUND"
    assert not server.director.col_exp_queues


def test_more_envoys_than_the_director_remembers_are_refused(server, monkeypatch) -> None:
    monkeypatch.setattr("superb_node.director.envoy_names.MAX_ENVOYS", 1)
    server.director.acknowledge_shard(
        {"node_info": {"name": "env_one"}, "sample_shape": ["16000"], "target_shape": ["1"]}
    )
    server.director.envoy_names.claim("env_one", "home")
    server.director.envoy_names.record("env_one", "home")
    with pytest.raises(Refused, match="1 envoys are registered"):
        server.director.envoy_names.claim("env_two", "home")
    server.director._shard_registry["env_one"]["last_updated"] -= 16  # three missed heartbeats
    server.director.envoy_names.claim("env_two", "home")
    assert "env_one" not in server.director.envoy_names


def test_more_submissions_at_a_time_than_places_are_refused(server: DirectorService) -> None:
    async def crowd() -> str:
        calls = [
            asyncio.create_task(server.SetNewExperiment(arriving(stalls=True), Call()))
            for _ in range(limits.MAX_SUBMISSIONS_OF_ONE)
        ]
        await asyncio.sleep(0.05)
        with pytest.raises(Aborted) as aborted:
            await server.SetNewExperiment(arriving(), Call())
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        with pytest.raises(Aborted, match="INVALID_ARGUMENT"):  # there is room again, for an empty one
            await server.SetNewExperiment(arriving(), Call())
        return str(aborted.value)

    assert asyncio.run(crowd()) == "RESOURCE_EXHAUSTED"


def test_openfls_server_gets_the_options_of_every_server_and_the_directors(server, monkeypatch) -> None:
    async def serve_nobody(self: DirectorGRPCServer) -> None:
        pass

    for name in ("aio", "channel_options"):  # what is put in OpenFL's place is put back
        monkeypatch.setattr(openfl_server, name, getattr(openfl_server, name))
    monkeypatch.setattr(DirectorGRPCServer, "_run_server", serve_nobody)
    asyncio.run(server._run_server())
    options = dict(openfl_server.channel_options)
    assert options.items() >= {**channel_options.SERVER_OPTIONS, **limits.SERVER_OPTIONS}.items()


def test_the_directors_aggregators_get_the_options_of_every_server(server, monkeypatch) -> None:
    for module, name in (  # what is put in OpenFL's place is put back
        (aggregator_pb2_grpc, "add_AggregatorServicer_to_server"),
        (aggregator_server, "cpu_count"),
        (aggregator_server, "channel_options"),
    ):
        monkeypatch.setattr(module, name, getattr(module, name))
    correct_aggregator_service()
    assert dict(aggregator_server.channel_options).items() >= channel_options.SERVER_OPTIONS.items()


def test_several_aggregators_may_have_more_files_open() -> None:
    source = (
        "import resource as r; from superb_node.director.limits import allow_open_files as allow\n"
        "hard = r.getrlimit(r.RLIMIT_NOFILE)[1]\n"
        "r.setrlimit(r.RLIMIT_NOFILE, (1024, hard))\n"
        "for aggregators in (0, 1, 3):\n"
        "    allow(aggregators); print(*r.getrlimit(r.RLIMIT_NOFILE), hard)"
    )
    found = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    limits_then = [tuple(map(int, line.split())) for line in found.stdout.splitlines()]
    hard = limits_then[0][2]
    three = 1824 if hard == -1 else min(1824, hard)
    assert limits_then == [(1024, hard, hard), (1024, hard, hard), (three, hard, hard)]
