"""Fuzzed messages for real ports while an experiment runs, which must not notice."""

from __future__ import annotations

import contextlib
import itertools
import random
import socket
import sys
import threading
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from openfl.federated import Plan
from openfl.protocols import aggregator_pb2, director_pb2

from superb_ks.transport.codec import EXPERIMENT, encode_chunk
from tests.fuzz.mutations import Mutator
from tests.support.lab import Lab, Outcome, at, follow
from tests.support.sine_experiment import Script

ROUNDS = 200
# Beyond this a connection has more calls that are not freed yet than gRPC's server takes.
INPUTS_A_CONNECTION = 50
FLAW = "the handler raised"
CALL_SECONDS = 1.0
DIRECTOR, AGGREGATOR = "openfl.director.Director", "openfl.aggregator.Aggregator"


def experiment_id(lab: Lab, name: str) -> str:
    """Return the id that the running experiment's archive tells its collaborators."""
    plan = lab.nodes_dir / "director" / "work" / str(lab.director_port) / name / "plan" / "plan.yaml"
    return str(Plan.parse(Path(plan)).federation_uuid)


def attack_ports(lab: Lab, inputs: int, seed: int) -> tuple[Counter[str], dict[str, Any]]:
    """Send fuzzed messages to both services during experiments; returns outcomes, and how these ended.

    One experiment follows another until everything is sent.

    Raises:
        AssertionError: one lost a round or an envoy, or its model differs from that of an undisturbed one.
    """
    script = Script(seconds=dict.fromkeys(lab.ranks, 0.05))
    quiet = lab.run(script, rounds=ROUNDS)
    mutator, outcomes, experiments = Mutator(random.Random(seed)), Counter[str](), 0
    while outcomes.total() < inputs:
        outcomes += attack_one(lab, script, mutator, inputs - outcomes.total(), quiet)
        experiments += 1
    outcomes["flaw"] += sum(count for outcome, count in outcomes.items() if outcome.endswith(FLAW))
    ended = {"experiments": experiments, "rounds": ROUNDS, "status": "finished", "models": "bit-identical"}
    return +outcomes, ended


def attack_one(lab: Lab, script: Script, mutator: Mutator, inputs: int, quiet: Outcome) -> Counter[str]:
    """Send up to `inputs` messages from the second round of an experiment to its end."""
    name, over = lab.new_name(), threading.Event()
    experiment = lab.submit(script, name=name, rounds=ROUNDS)
    with ThreadPoolExecutor(1) as beside:
        attacks: list[Future[Counter[str]]] = []

        def attack() -> None:
            known = experiment_id(lab, name)
            attacks.append(beside.submit(send_until, over, lab, known, inputs, mutator))

        try:
            outcome = follow(experiment, (at(1, lab.first, "train"), attack))
        finally:
            over.set()
    assert outcome.status == "finished", outcome.error
    for envoy in lab.envoy_names:
        assert outcome.rounds("train", envoy) == list(range(ROUNDS)), outcome.rounds("train", envoy)
    assert not outcome.of("dropped"), outcome.text("dropped")
    assert np.array_equal(outcome.weights, quiet.weights), "the final models differ"
    return attacks[0].result()


def send_until(over: threading.Event, lab: Lab, known_id: str, inputs: int, mutator: Mutator) -> Counter[str]:
    """Send messages until `over`, half of them as somebody who knows the experiment's id."""
    outcomes = Counter[str]()
    while not over.is_set() and outcomes.total() < inputs:
        count = min(INPUTS_A_CONNECTION, inputs - outcomes.total())
        outcomes += send_some(lab, known_id, count, mutator)
    return outcomes


def send_some(lab: Lab, known_id: str, inputs: int, mutator: Mutator) -> Counter[str]:
    """Send messages over one connection to each service."""
    draw, outcomes = mutator.draw, Counter[str]()
    options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
    with (
        grpc.insecure_channel(f"localhost:{lab.director_port}", options) as director,
        grpc.insecure_channel(f"localhost:{lab.aggregator_port}", options) as aggregator,
    ):
        for _ in range(inputs):
            kind = draw.randrange(10)
            if kind == 0:
                outcomes[send_garbage(draw, draw.choice((lab.director_port, lab.aggregator_port)))] += 1
            elif kind < 6:
                shown = ((EXPERIMENT, known_id.encode()),) if draw.random() < 0.5 else ()
                outcomes[f"port of aggregator: {call(aggregator, *to_aggregator(mutator), shown)}"] += 1
            else:
                outcomes[f"port of director: {call(director, *to_director(mutator), ())}"] += 1
    return outcomes


def send_garbage(draw: random.Random, port: int) -> str:
    """Send bytes that are not HTTP/2 over a connection of their own."""
    # It is hung up on, and the aggregator's port closes with its experiment.
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("localhost", port), timeout=CALL_SECONDS) as connection,
    ):
        connection.sendall(draw.choice((b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"", b"GET / HTTP/1.1\r\n\r\n")))
        connection.sendall(draw.randbytes(draw.randrange(1, 2000)))
    return "ports: garbage sent"


def call(channel: grpc.Channel, method: str, messages: list[bytes], headers: Any) -> str:
    """Call a method with raw messages; returns the status."""
    answers = channel.stream_stream(method)(iter(messages), metadata=headers, timeout=CALL_SECONDS)
    try:
        for _ in itertools.islice(answers, 5):
            pass
        answers.cancel()
    except grpc.RpcError as error:
        # gRPC's answer to what the handler raised, and on an event loop also to what cannot be decoded.
        if error.code() is grpc.StatusCode.UNKNOWN and "DecodeError" not in error.details():
            print(f"{method}: {error.details()}", file=sys.stderr)
            return FLAW
        if error.code() is grpc.StatusCode.UNKNOWN:
            return "not decoded"
        return str(error.code().name)
    return "answered"


def to_aggregator(mutator: Mutator) -> tuple[str, list[bytes]]:
    """Return a method and messages of somebody who is not enrolled."""
    header = aggregator_pb2.MessageHeader(sender="mallory", receiver="aggregator", federation_uuid="x")
    name = mutator.draw.choice(("GetTasks", "GetAggregatedTensor", "SendLocalTaskResults"))
    message = {
        "GetTasks": aggregator_pb2.GetTasksRequest(header=header),
        "GetAggregatedTensor": aggregator_pb2.GetAggregatedTensorRequest(
            header=header, tensor_name="trained/0"
        ),
        "SendLocalTaskResults": aggregator_pb2.TaskResults(header=header, task_name="train", data_size=3),
    }[name]
    raw = mutator.message(message)
    return f"/{AGGREGATOR}/{name}", [encode_chunk(raw), raw] if name == "SendLocalTaskResults" else [raw]


def to_director(mutator: Mutator) -> tuple[str, list[bytes]]:
    """Return a method and messages that must change nothing of what runs."""
    requests = {
        "UpdateShardInfo": director_pb2.UpdateShardInfoRequest(),
        "SetNewExperiment": director_pb2.ExperimentInfo(name="fuzz"),
        "UpdateEnvoyStatus": director_pb2.UpdateEnvoyStatusRequest(name="nobody"),
        "SetExperimentFailed": director_pb2.SetExperimentFailedRequest(experiment_name="none"),
        "GetExperimentData": director_pb2.GetExperimentDataRequest(experiment_name="none"),
        "GetExperimentStatus": director_pb2.GetExperimentStatusRequest(experiment_name="none"),
        "GetMetricStream": director_pb2.GetMetricStreamRequest(experiment_name="none"),
        "RemoveExperimentData": director_pb2.RemoveExperimentRequest(experiment_name="none"),
        "GetEnvoys": director_pb2.GetEnvoysRequest(),
        "GetExperimentsList": director_pb2.GetExperimentsListRequest(),
    }
    name = mutator.draw.choice(sorted(requests))
    return f"/{DIRECTOR}/{name}", [mutator.message(requests[name])]
