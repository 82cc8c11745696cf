"""What the fuzz run calls: director and aggregator as gRPC calls them, and what reads bytes from outside.

Each target is a context, entered in a folder of its own, that gives a function: it draws one input, sends it,
and returns what came of it. Hypothesis requires that the choices do not depend on what was sent before.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import grpc
import numpy as np
from google.protobuf.message import DecodeError
from hypothesis import strategies as st
from openfl.protocols import aggregator_pb2 as pb
from openfl.protocols import base_pb2, director_pb2
from openfl.transport import AggregatorGRPCServer

from superb_ks.aggregator import aggregator as aggregator_module
from superb_ks.aggregator.aggregator import Aggregator
from superb_ks.aggregator.service import add_servicer_to_server
from superb_ks.aggregator.uploads import Results
from superb_ks.experiment import Experiment, UnsoundExperiment, digest
from superb_ks.transport import messages
from superb_node.approval.review import review
from superb_node.approval.store import Submission
from superb_node.director.director import Director
from superb_node.director.service import DirectorService
from superb_node.reports import AGGREGATOR_PORT_HEADER
from tests.fuzz.inputs import Draw, damaged, damaged_experiment, damaged_message, one_in
from tests.support.aggregator import EXPERIMENT_ID, aggregator_on, new_state_folder
from tests.support.cards import CARD
from tests.support.experiments import experiment_text
from tests.support.open_gate import open_gate

Send = Callable[[Draw], str]
Target = Callable[[Path], AbstractContextManager[Send]]

SIZE = 64
ROUNDS = 120
HONEST, MALLORY = "honest", "mallory"
TEXT = experiment_text()
WAIT_SECONDS = 0.005


class Aborted(Exception):
    """What gRPC raises in a handler that aborts its call."""


class Call:
    """A call without a network behind it: what a handler asks gRPC for."""

    def __init__(self, *headers: tuple[str, str | bytes]) -> None:
        self.invocation_metadata = lambda: headers
        self.auth_context = dict[str, list[bytes]]
        self.peer = lambda: "fuzz"

    def abort(self, code: grpc.StatusCode, details: str) -> None:
        details.encode()  # has to be sent
        raise Aborted(code.name)


class AsyncCall(Call):
    """The same on the director's event loop."""

    async def abort(self, code: grpc.StatusCode, details: str) -> None:  # type: ignore[override]
        super().abort(code, details)

    async def send_initial_metadata(self, metadata: Any) -> None:
        dict(metadata)


@contextlib.contextmanager
def aggregator(folder: Path) -> Iterator[Send]:
    """An experiment of an honest collaborator and one whose calls are fuzzed; it must never end."""
    running = aggregator_on(new_state_folder(folder, SIZE), [HONEST, MALLORY], ROUNDS)
    taken: list[Any] = []
    server = SimpleNamespace(add_generic_rpc_handlers=taken.extend)
    add_servicer_to_server(AggregatorGRPCServer(running, 0, use_tls=False), server)

    def send(draw: Draw) -> str:
        work(running, HONEST)
        assert 1 <= running.round_number < 2**7, "a message's length would depend on its round"
        name, sent = aggregator_call(draw, running.round_number)
        handler = taken[0].service(SimpleNamespace(method=f"/{messages.SERVICE}/{name}"))
        outcome = "answered"
        try:
            for answer in handler.stream_stream(iter(sent), Call((messages.EXPERIMENT, b"federation"))):
                handler.response_serializer(answer)
        except Aborted as refused:
            outcome = str(refused)
        assert running.failure is None, running.failure
        return f"aggregator: {outcome}"

    try:
        with patch.object(aggregator_module, "LONG_POLL_SECONDS", 0.0):  # nobody comes with news meanwhile
            work(running, HONEST)
            work(running, MALLORY)
            yield send
    finally:
        running.stop(reason="the run is over")
        running.state.close()


def work(running: Aggregator, name: str) -> None:
    """Do what `name` is asked to."""
    metrics = {"accuracy": np.asarray(0.5), "loss": np.asarray(1.0)}
    tasks, round_number, _, _ = running.get_tasks(name)
    for task in tasks or []:
        weights = np.ones(SIZE, np.float32) if task.task_type == "train" else None
        running.send_local_task_results(name, round_number, task.name, 10, Results(metrics, weights))


def aggregator_call(draw: Draw, now: int) -> tuple[str, list[bytes]]:
    """Draw a method of the aggregator and what is sent to it in round `now`."""
    header = pb.MessageHeader(sender=MALLORY, receiver=EXPERIMENT_ID, federation_uuid=EXPERIMENT_ID)
    name = draw(st.sampled_from((*["SendLocalTaskResults"] * 6, "GetTasks", "GetAggregatedTensor")))
    if name != "SendLocalTaskResults":
        of_model = {"tensor_name": "trained/0", "round_number": now, "tags": ["model"]}
        request = getattr(pb, f"{name}Request")(header=header, **of_model if name != "GetTasks" else {})
        return name, [draw(damaged_message(request))]
    metrics = {"accuracy": 0.7, "loss": 2.0, "confusion": np.eye(3)}
    results = pb.TaskResults(
        header=header,
        round_number=now,
        task_name=draw(st.sampled_from(("train", "validate", "test_initial"))),
        data_size=20,
        tensors=[messages.metric_message(name, value, now) for name, value in metrics.items()],
    )
    head, *rest = messages.upload(results, np.ones(SIZE, np.float32))
    sent = [draw(damaged_message(pb.TaskResults.FromString(head))), *rest]
    if one_in(draw, 3):
        sent[1] = draw(damaged(sent[1]))
    return name, cut_or_repeated(draw, sent)


def cut_or_repeated(draw: Draw, parts: list[Any]) -> list[Any]:
    """Return a stream as it is, or one of five without some of its parts or with parts sent again."""
    if not one_in(draw, 5):
        return parts
    return parts[: draw(st.integers(0, 2))] + parts[1:] * draw(st.integers(0, 2))


def director_requests(experiment: str, envoy: str) -> dict[str, Any]:
    """Return a request for each method of the director, filled with names."""
    requests = {}
    for method in director_pb2.DESCRIPTOR.services_by_name["Director"].methods:
        request = requests[method.name] = getattr(director_pb2, method.input_type.name)()
        whose = envoy if method.name == "UpdateEnvoyStatus" else experiment
        for field, value in (("experiment_name", experiment), ("collaborator_name", envoy), ("name", whose)):
            if field in method.input_type.fields_by_name:
                setattr(request, field, value)
    return requests


@contextlib.contextmanager
def director(folder: Path) -> Iterator[Send]:
    """A director that knows one envoy and has one experiment waiting."""
    loop = asyncio.new_event_loop()
    server = DirectorService(
        director_cls=Director,
        tls=False,
        listen_host="localhost",
        listen_port=0,
        sample_shape=["16000"],
        target_shape=["1"],
        envoy_health_check_period=5,
        experiments_folder=folder / "experiments",
        gate=open_gate(folder),
    )
    requests = director_requests("known", "env_one")
    shard = requests["UpdateShardInfo"].shard_info
    shapes = {"sample_shape": ["16000"], "target_shape": ["1"]}
    shard.MergeFrom(director_pb2.ShardInfo(**shapes, n_samples=12, shard_description=CARD))
    shard.node_info.name = "env_one"
    shard.node_info.cuda_devices.add(index=0, name="card")
    requests["UpdateEnvoyStatus"].cuda_devices.extend(shard.node_info.cuda_devices)

    def call(name: str, sent: list[Any]) -> str:
        return loop.run_until_complete(director_answer(server, name, sent))

    def send(draw: Draw) -> str:
        name = draw(st.sampled_from((*requests, *["SetNewExperiment"] * 4)))
        good = [requests[name]]
        if name == "SetNewExperiment":
            data = draw(damaged_experiment(TEXT)) if draw(st.booleans()) else TEXT
            good = submission(draw(st.sampled_from(("new", "known"))), data)
        sent = [draw(damaged_message(message)) for message in good]
        if name == "SetNewExperiment":
            sent = cut_or_repeated(draw, sent)
        try:
            outcome = call(name, [type(good[0]).FromString(message) for message in sent])
        except DecodeError:
            outcome = "not decoded"
        except Aborted as refused:
            outcome = str(refused)
        forget_submissions(server.director, folder / "experiments")
        return f"director: {outcome}"

    try:
        call("UpdateShardInfo", [requests["UpdateShardInfo"]])
        call("SetNewExperiment", submission("known", TEXT))
        yield send
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def submission(name: str, text: bytes) -> list[Any]:
    """Return the messages that submit an experiment."""
    head, rest = (director_pb2.ExperimentInfo(name=name) for _ in range(2))
    head.collaborator_names.append("env_one")
    shape = base_pb2.MetadataProto(int_list=[SIZE])
    head.model_proto.tensors.append(base_pb2.NamedTensor(name="trained", transformer_metadata=[shape]))
    for message, data in ((head, text), (rest, bytes(4 * SIZE))):
        message.experiment_data.size, message.experiment_data.npbytes = len(data), data
    return [head, rest]


async def director_answer(server: DirectorService, name: str, sent: list[Any]) -> str:
    """Call a method of the director, and read its answer for a moment."""

    async def stream() -> Any:
        for message in sent:
            yield message

    async def read(reply: Any) -> None:
        if hasattr(reply, "__aiter__"):
            async for each in reply:
                each.SerializeToString()
        else:
            (await reply).SerializeToString()

    reply = getattr(server, name)(
        stream() if name == "SetNewExperiment" else sent[0], AsyncCall((AGGREGATOR_PORT_HEADER, "50051"))
    )
    waits = name == "WaitExperiment" or hasattr(reply, "__aiter__")
    try:
        await asyncio.wait_for(read(reply), WAIT_SECONDS if waits else None)
    except asyncio.TimeoutError:
        return "waits"
    return "answered"


def forget_submissions(director: Any, folder: Path) -> None:
    """Forget what was accepted; nothing of a refused submission may be left."""
    left = {path.name for path in folder.iterdir()} - {".approval"}
    assert left <= set(director.experiments.names()), left
    for name in set(director.experiments.names()) - {"known"}:
        director.experiments_registry.remove(name)
        director.experiments.remove(name)


@contextlib.contextmanager
def experiment(folder: Path) -> Iterator[Send]:
    """An experiment's text on its way to the owner's review: what is shown is all that runs."""
    nothing = folder / "never_approved"

    def send(draw: Draw) -> str:
        text = draw(damaged_experiment(TEXT))
        try:
            read = Experiment.read(text)
        except UnsoundExperiment:
            return "experiment: refused"
        shown = "\n".join(review(Submission("fuzz", "mallory", digest(text)), text, nothing))
        assert all(char.isprintable() or char == "\n" for char in shown)
        assert tasks_of(shown) == read.tasks.rstrip("\n").split("\n")
        return "experiment: read"

    yield send


def tasks_of(shown: str) -> list[str]:
    """Read the code back from a review, as one who takes it at its word."""
    lines: list[tuple[str, bool]] = []
    _, _, rest = shown.partition("Tasks: the only code of the experiment\n")
    for line in rest.partition("\nHow they are called\n")[0].split("\n"):
        place, escaped, text = line[:4], line[4:5] == "!", line[6:]
        if place.strip() == "+":
            lines[-1] = (lines[-1][0] + text, escaped)
        else:
            lines.append((text, escaped))
    return [text.encode().decode("unicode_escape") if escaped else text for text, escaped in lines]


# Each with its share of the inputs.
TARGETS: dict[Target, float] = {aggregator: 0.5, director: 0.3, experiment: 0.2}
