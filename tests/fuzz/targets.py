"""What the fuzz run calls: director and aggregator as gRPC calls them, and what reads bytes from outside."""

from __future__ import annotations

import asyncio
import io
import random
import shutil
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
from google.protobuf.message import DecodeError
from openfl.component.assigner.custom_assigner import Assigner
from openfl.protocols import aggregator_pb2, base_pb2, director_pb2
from openfl.transport import AggregatorGRPCServer

from superb_ks.aggregator import aggregator as aggregator_module
from superb_ks.aggregator.aggregator import PackedAggregator
from superb_ks.aggregator.assigner import ScheduledAssigner
from superb_ks.aggregator.checkpoint import write_manifest
from superb_ks.aggregator.model_file import write_model
from superb_ks.aggregator.service import add_servicer_to_server
from superb_ks.aggregator.uploads import Results
from superb_ks.transport import codec, messages
from superb_node.approval.archive import ArchiveLimits, UnsoundArchive, read_archive
from superb_node.director.director import Director
from superb_node.director.service import DirectorService
from superb_node.workspace import IsolatedWorkspace
from tests.fuzz.mutations import Mutator

SIZE = 64
HONEST, MALLORY = "honest", "mallory"
FILES = {
    "plan/plan.yaml": b"aggregator: {}\n" * 20,
    "superb_ks/__init__.py": b'"""A package."""\n',
    "superb_ks/transport/messages.py": b"PART = 1\n" * 200,
    "model_obj.pkl": bytes(range(256)) * 4,
}
# After so many inputs an aggregator is replaced: its records are kept as long as it lives.
INPUTS_AN_AGGREGATOR = 1000
WAIT_SECONDS = 0.005


class Aborted(Exception):
    """What gRPC raises in a handler that aborts its call."""

    def __init__(self, code: grpc.StatusCode) -> None:
        super().__init__(code.name)
        self.name = code.name


class Call:
    """A call without a network behind it: what a handler asks gRPC for."""

    def abort(self, code: grpc.StatusCode, details: str) -> None:
        """End the call."""
        details.encode()  # has to be sent
        raise Aborted(code)

    def peer(self) -> str:
        """Name the caller."""
        return "fuzz"

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        """Return the headers."""
        return ()


class AggregatorCall(Call):
    """A call of one who knows the experiment's id."""

    def __init__(self, experiment_id: str) -> None:
        self._headers = ((codec.EXPERIMENT, experiment_id.encode()),)

    def invocation_metadata(self) -> Any:
        """Return the headers."""
        return self._headers

    def auth_context(self) -> dict[str, list[bytes]]:
        """Return what is known of the caller without TLS."""
        return {}


class AsyncCall(Call):
    """The same on the director's event loop."""

    async def abort(self, code: grpc.StatusCode, details: str) -> None:  # type: ignore[override]
        """End the call."""
        super().abort(code, details)

    async def send_initial_metadata(self, metadata: Any) -> None:
        """Take the headers of an answer."""
        dict(metadata)


class AggregatorTarget:
    """An experiment of an honest collaborator and one whose calls are fuzzed; it must never end."""

    def __init__(self, mutator: Mutator, folder: Path) -> None:
        aggregator_module.LONG_POLL_SECONDS = 0.0  # nobody comes with news while a call waits
        self._mutator, self._folder = mutator, folder
        self._calls = 0
        self.aggregator: PackedAggregator | None = None

    def send(self) -> str:
        """Send one input; returns what came of it."""
        if self._calls % INPUTS_AN_AGGREGATOR == 0:
            self._start()
        self._calls += 1
        assert self.aggregator is not None
        self._let_the_honest_work()
        name, sent = self._messages()
        handler = self._service.service(SimpleNamespace(method=f"/{codec.SERVICE}/{name}"))
        call = AggregatorCall(self.aggregator.federation_uuid)
        try:
            for answer in handler.stream_stream(iter(sent), call):
                handler.response_serializer(answer)
            outcome = "answered"
        except Aborted as refused:
            outcome = refused.name
        assert self.aggregator.failure is None, self.aggregator.failure
        return f"aggregator: {outcome}"

    def _start(self) -> None:
        self.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir()
        write_model(self._folder / "round-0.safetensors", np.zeros(SIZE, np.float32), {})
        best: dict[str, Any] = {"best": None, "best_round": None, "best_score": None, "digests": {}}
        write_manifest(self._folder, {"round": 0, "last": "round-0.safetensors", **best})
        schedule = ScheduledAssigner(2 * INPUTS_AN_AGGREGATOR, 1.0, 0)
        names = [HONEST, MALLORY]
        assigner = Assigner(
            assigner_function=schedule,
            aggregation_functions_by_task=None,
            authorized_cols=names,
            rounds_to_train=schedule.total_rounds,
        )
        self.aggregator = PackedAggregator(
            aggregator_uuid="aggregator",
            federation_uuid="federation",
            authorized_cols=names,
            init_state_path=None,
            best_state_path=None,
            last_state_path=None,
            assigner=assigner,
            rounds_to_train=schedule.total_rounds,
            initial_tensor_dict={"state_folder": self._folder},
        )
        taken: list[Any] = []
        server = SimpleNamespace(add_generic_rpc_handlers=taken.extend)
        add_servicer_to_server(AggregatorGRPCServer(self.aggregator, 0, use_tls=False), server)
        (self._service,) = taken

    def close(self) -> None:
        """End the experiment."""
        if self.aggregator is not None:
            self.aggregator.stop(reason="the run is over")
            self.aggregator.state.close()

    def _let_the_honest_work(self) -> None:
        assert self.aggregator is not None
        metrics = {"accuracy": np.asarray(0.5), "loss": np.asarray(1.0)}
        tasks, round_number, _, _ = self.aggregator.get_tasks(HONEST)
        for task in tasks or []:
            weights = np.ones(SIZE, np.float32) if task.task_type == "train" else None
            self.aggregator.send_local_task_results(
                HONEST, round_number, task.name, 10, Results(metrics, weights)
            )

    def _messages(self) -> tuple[str, list[bytes]]:
        """Return a method and what is sent to it."""
        draw = self._mutator.draw
        assert self.aggregator is not None
        header = aggregator_pb2.MessageHeader(
            sender=MALLORY, receiver="aggregator", federation_uuid="federation"
        )
        now = self.aggregator.round_number
        kind = draw.randrange(8)
        if kind == 0:
            return "GetTasks", [self._mutator.message(aggregator_pb2.GetTasksRequest(header=header))]
        if kind == 1:
            wanted = aggregator_pb2.GetAggregatedTensorRequest(
                header=header, tensor_name="trained/0", round_number=now, tags=["model"]
            )
            return "GetAggregatedTensor", [self._mutator.message(wanted)]
        metrics = {"accuracy": 0.7, "loss": 2.0, "confusion": np.eye(3)}
        results = aggregator_pb2.TaskResults(
            header=header,
            round_number=now,
            task_name=draw.choice(("train", "validate", "test_initial")),
            data_size=20,
            tensors=[messages.metric_message(name, value, now) for name, value in metrics.items()],
        )
        chunks = [bytes(each) for each in messages.upload(results, np.ones(SIZE, np.float32))]
        head = aggregator_pb2.TaskResults.FromString(chunks[0])
        chunks[0] = self._mutator.message(head)
        if draw.random() < 0.3:
            chunks[1] = self._mutator.raw(chunks[1])
        if draw.random() < 0.2:
            chunks = chunks[: draw.randrange(3)] + chunks[1:] * draw.randrange(3)
        encoded = [codec.encode_chunk(chunk) for chunk in chunks]
        if encoded and draw.random() < 0.2:
            encoded[-1] = self._mutator.raw(encoded[-1])
        return "SendLocalTaskResults", encoded


def _of_known_experiment(request: type[Any]) -> list[Any]:
    return [request(experiment_name="known")]


class DirectorTarget:
    """A director that knows one envoy and has one experiment waiting."""

    def __init__(self, mutator: Mutator, folder: Path) -> None:
        self._mutator, self._folder, self._loop = mutator, folder, asyncio.new_event_loop()
        self.server = DirectorService(
            director_cls=Director,
            tls=False,
            listen_host="localhost",
            listen_port=0,
            sample_shape=["16000"],
            target_shape=["1"],
            envoy_health_check_period=5,
            experiments_folder=folder / "experiments",
        )
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in FILES.items():
                archive.writestr(name, content)
        self._archive = buffer.getvalue()
        shard = director_pb2.ShardInfo(sample_shape=["16000"], target_shape=["1"], n_samples=12)
        shard.node_info.name = "env_one"
        shard.node_info.cuda_devices.add(index=0, name="card")
        cards = list(shard.node_info.cuda_devices)
        self._examples: dict[str, Callable[[], list[Any]]] = {
            "UpdateShardInfo": lambda: [director_pb2.UpdateShardInfoRequest(shard_info=shard)],
            "SetNewExperiment": self._submission,
            "WaitExperiment": lambda: [director_pb2.WaitExperimentRequest(collaborator_name="env_one")],
            "UpdateEnvoyStatus": lambda: [
                director_pb2.UpdateEnvoyStatusRequest(name="env_one", cuda_devices=cards)
            ],
            "SetExperimentFailed": lambda: [
                director_pb2.SetExperimentFailedRequest(
                    experiment_name="known", collaborator_name="env_one", error_code=1, error_description="x"
                )
            ],
            "GetExperimentData": lambda: [
                director_pb2.GetExperimentDataRequest(experiment_name="known", collaborator_name="env_one")
            ],
            "GetExperimentsList": lambda: [director_pb2.GetExperimentsListRequest()],
            "GetDatasetInfo": lambda: [director_pb2.GetDatasetInfoRequest()],
            "GetEnvoys": lambda: [director_pb2.GetEnvoysRequest()],
        }  # fmt: skip
        for name, request in (
            ("GetExperimentStatus", director_pb2.GetExperimentStatusRequest),
            ("GetMetricStream", director_pb2.GetMetricStreamRequest),
            ("RemoveExperimentData", director_pb2.RemoveExperimentRequest),
            ("GetTrainedModel", director_pb2.GetTrainedModelRequest),
        ):
            self._examples[name] = partial(_of_known_experiment, request)
        self._examples["GetExperimentDescription"] = lambda: [
            director_pb2.GetExperimentDescriptionRequest(name="known")
        ]
        for name in ("UpdateShardInfo", "SetNewExperiment"):
            self._loop.run_until_complete(self._send(name, self._examples[name]()))

    def send(self) -> str:
        """Send one input; returns what came of it."""
        name = self._mutator.draw.choice((*self._examples, *["SetNewExperiment"] * 4))
        examples = self._examples[name]()
        kind = type(examples[0])
        try:
            sent = [kind.FromString(self._mutator.message(example)) for example in examples]
        except DecodeError:
            return "director: not decoded"
        if name == "SetNewExperiment" and self._mutator.draw.random() < 0.2:
            sent = sent[: self._mutator.draw.randrange(3)]
        try:
            outcome = self._loop.run_until_complete(self._send(name, sent))
        except Aborted as refused:
            outcome = refused.name
        self._tidy()
        return f"director: {outcome}"

    def close(self) -> None:
        """Close the event loop."""
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    async def _send(self, name: str, sent: list[Any]) -> str:
        async def stream() -> Any:
            for message in sent:
                yield message

        method = getattr(self.server, name)
        reply = method(stream() if name == "SetNewExperiment" else sent[0], AsyncCall())
        try:
            if hasattr(reply, "__aiter__"):
                await asyncio.wait_for(self._read(reply), WAIT_SECONDS)
            elif name == "WaitExperiment":
                await asyncio.wait_for(reply, WAIT_SECONDS)
            else:
                (await reply).SerializeToString()
        except asyncio.TimeoutError:
            return "waits"
        return "answered"

    async def _read(self, replies: Any) -> None:
        async for reply in replies:
            reply.SerializeToString()

    def _submission(self) -> list[Any]:
        draw = self._mutator.draw
        archive = self._archive if draw.random() < 0.5 else self._mutator.archive(FILES)
        head = director_pb2.ExperimentInfo(name=draw.choice(("known", "new")), collaborator_names=["env_one"])
        head.experiment_data.size, head.experiment_data.npbytes = len(archive), archive
        shape = base_pb2.MetadataProto(int_list=[SIZE])
        head.model_proto.tensors.append(base_pb2.NamedTensor(name="trained", transformer_metadata=[shape]))
        rest = director_pb2.ExperimentInfo(name=head.name)
        rest.experiment_data.size, rest.experiment_data.npbytes = 4 * SIZE, bytes(4 * SIZE)
        return [head, rest]

    def _tidy(self) -> None:
        """Forget what was accepted; nothing of a refused submission may be left."""
        director = self.server.director
        left = {path.name for path in (self._folder / "experiments").iterdir()} - {".approval"}
        assert left <= set(director.experiments.names()), left
        for name in director.experiments.names():
            if name != "known":
                archive = director.experiments_registry.get(name).archive_path
                archive.unlink()
                director.experiments_registry.remove(name)
                director.experiments.remove(name)


class ArchiveTarget:
    """An archive on its way to being unpacked, on the director and on an envoy."""

    def __init__(self, mutator: Mutator, folder: Path) -> None:
        self._mutator, self._path = mutator, folder / "archive.zip"

    def send(self) -> str:
        """Send one input; returns what came of it."""
        data = self._mutator.archive(FILES)
        try:
            contents = read_archive(data, ArchiveLimits())
        except UnsoundArchive:
            return "archive: refused"
        self._path.write_bytes(data)
        with IsolatedWorkspace("unpacked", self._path):
            there = {str(path.relative_to(Path.cwd())) for path in Path.cwd().rglob("*") if path.is_file()}
            assert there == set(contents.sizes), there ^ set(contents.sizes)
            assert not any(path.is_symlink() for path in Path.cwd().rglob("*"))
        return "archive: unpacked"


class BytesTarget:
    """What decodes messages by hand."""

    def __init__(self, mutator: Mutator, folder: Path) -> None:
        self._mutator = mutator
        tensor = base_pb2.NamedTensor(name="trained/0", data_bytes=bytes(range(256)))
        self._reply = aggregator_pb2.GetAggregatedTensorResponse(tensor=tensor).SerializeToString()
        self._chunk = codec.encode_chunk(bytes(range(256)))

    def send(self) -> str:
        """Send one input; returns what came of it."""
        read, good = self._mutator.draw.choice(
            ((codec.decode_chunk, self._chunk), (codec.decode_tensor_reply, self._reply))
        )
        try:
            read(self._mutator.raw(good))
        except ValueError:
            return "bytes: refused"
        return "bytes: read"


def targets(seed: int, folder: Path) -> list[tuple[Any, int]]:
    """Return every target with its share of the inputs, in per cent; call inside `folder`."""
    mutator = Mutator(random.Random(seed))
    return [
        (AggregatorTarget(mutator, folder / "aggregator"), 40),
        (DirectorTarget(mutator, folder), 30),
        (ArchiveTarget(mutator, folder), 20),
        (BytesTarget(mutator, folder), 10),
    ]
