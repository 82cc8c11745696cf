"""A drill in which strangers, and one who knows the experiment's id, do to the services what they like."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
from openfl.protocols import aggregator_pb2, base_pb2, director_pb2

from superb_ks.aggregator.limits import MAX_MESSAGE_BYTES
from superb_ks.transport import messages
from superb_ks.transport.parts import TRAINED
from superb_node.reports import AGGREGATOR_PORT_HEADER
from tests.drills.drill import drill
from tests.fuzz.live import AGGREGATOR, DIRECTOR, experiment_id
from tests.support import dial
from tests.support.experiments import experiment_text
from tests.support.lab import Lab, Outcome, at, follow
from tests.support.sine_experiment import Script

CONNECTIONS = 200
ROUNDS = 30
# What the connections of a hundred say: nothing, half of HTTP/2's greeting, all of it and no more, garbage.
GREETINGS = (b"", b"PRI * HTTP/2.0\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", bytes(range(256)) * 8)
STREAMS = 40
ANSWER_SECONDS = 10


@drill("200 connections, garbage and half uploads in a round")
def hostile_clients(lab: Lab) -> str:
    """They are held open from the second round to the last; the experiment ends as the quiet one did."""
    script = Script(seconds=dict.fromkeys(lab.ranks, 0.1))
    quiet = lab.run(script, rounds=ROUNDS)
    name = lab.new_name()
    experiment = lab.submit(script, name=name, rounds=ROUNDS)
    with contextlib.ExitStack() as held:
        attack = (at(1, lab.first, "train"), lambda: held.enter_context(attacked(lab, name)))
        outcome = follow(experiment, attack)
    assert outcome.status == "finished", outcome.error
    for envoy in lab.envoy_names:
        assert outcome.rounds("train", envoy) == list(range(ROUNDS)), outcome.rounds("train", envoy)
    for event in ("dropped", "refused", "late"):
        assert not outcome.of(event), outcome.text(event)
    assert np.array_equal(outcome.weights, quiet.weights), "the final models differ"
    return (
        f"{ROUNDS} rounds of {ROUNDS}, nobody dropped, final model bit-identical; a round takes "
        f"{seconds_a_round(quiet):.2f} s in peace and {seconds_a_round(outcome):.2f} s under attack"
    )


def seconds_a_round(outcome: Outcome) -> float:
    """Return the median of all rounds but the first two."""
    seconds = [record["metric_value"] for record in outcome.of("round", "aggregator")]
    return float(np.median(seconds[2:]))


@contextlib.contextmanager
def attacked(lab: Lab, name: str) -> Iterator[None]:
    """Hold connections and streams open, half of everything sent, inside the context."""
    known = ((messages.EXPERIMENT, experiment_id(lab, name).encode()),)
    with contextlib.ExitStack() as held:
        for number in range(CONNECTIONS):
            port = (lab.director_port, lab.aggregator_port)[number % 2]
            connection = held.enter_context(dial.connection(port, 5))
            with contextlib.suppress(OSError):  # what is no HTTP/2 is hung up on
                connection.sendall(GREETINGS[number // 2 % len(GREETINGS)])
        for number in range(STREAMS):
            to_aggregator, to_director = (
                held.enter_context(dial.channel(port)) for port in (lab.aggregator_port, lab.director_port)
            )
            half_upload(to_aggregator, known if number % 4 == 0 else (), number)
            half_submission(to_director, number)
        too_long(to_aggregator, f"/{AGGREGATOR}/GetTasks", MAX_MESSAGE_BYTES + 1, known)
        too_long(to_director, f"/{DIRECTOR}/GetEnvoys", 34 * 2**20, ())
        yield


def half_upload(channel: grpc.Channel, headers: Any, number: int) -> None:
    """Begin an upload in the name of nobody who is enrolled, of 8 GB, and send no more of it.

    Every other one of those who know the experiment's id sends nothing at all, and so holds a thread.
    """
    header = aggregator_pb2.MessageHeader(sender="mallory", receiver="aggregator", federation_uuid="x")
    shape = base_pb2.MetadataProto(int_list=[2**31 - 1])
    results = aggregator_pb2.TaskResults(
        header=header,
        task_name="train",
        tensors=[base_pb2.NamedTensor(name=TRAINED, transformer_metadata=[shape])],
    )
    hold_open(
        channel,
        f"/{AGGREGATOR}/SendLocalTaskResults",
        [results.SerializeToString()] if number % 8 else [],
        headers,
    )


PORT = ((AGGREGATOR_PORT_HEADER, "50051"),)


def half_submission(channel: grpc.Channel, number: int) -> None:
    """Begin a submission: a text, of a model of 4 GiB none of which follows; or nothing at all."""
    text = experiment_text()
    head = director_pb2.ExperimentInfo(name=f"mallory-{number}", collaborator_names=["env_one"])
    head.experiment_data.size, head.experiment_data.npbytes = len(text), text
    shape = base_pb2.MetadataProto(int_list=[2**30])
    head.model_proto.tensors.append(base_pb2.NamedTensor(name=TRAINED, transformer_metadata=[shape]))
    hold_open(
        channel, f"/{DIRECTOR}/SetNewExperiment", [head.SerializeToString()] if number % 2 else [], PORT
    )


def hold_open(channel: grpc.Channel, method: str, messages: list[bytes], headers: Any) -> None:
    """Begin a call, send `messages`, and neither end it nor go on until the channel is closed."""
    over = threading.Event()

    def sent() -> Iterator[bytes]:
        yield from messages
        over.wait()

    call = channel.stream_unary(method).future(sent(), metadata=headers)
    call.add_done_callback(lambda _: over.set())  # also when the channel is closed


def too_long(channel: grpc.Channel, method: str, size: int, headers: Any) -> None:
    """Send a message beyond the limit, which is refused and not kept."""
    answer = channel.stream_unary(method).future(
        iter([bytes(size)]), metadata=headers, timeout=ANSWER_SECONDS
    )
    code = answer.code()  # waits
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED, f"{method} answered {code} to {size} bytes"
