"""Fuzzed messages for real ports while an experiment runs, which must not notice."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
from hypothesis import strategies as st
from openfl.protocols import director_pb2, director_pb2_grpc

from superb_ks.transport.messages import EXPERIMENT
from superb_node.reports import ID_HEADER
from tests.fuzz.inputs import Draw, damaged_message, random_bytes, try_examples
from tests.fuzz.targets import aggregator_call, director_requests
from tests.support import dial
from tests.support.lab import Lab, Outcome, at, follow
from tests.support.sine_experiment import Script

ROUNDS = 200
# Beyond this a connection has more calls that are not freed yet than gRPC's server takes.
INPUTS_A_CONNECTION = 50
CALL_SECONDS = 1.0
DIRECTOR, AGGREGATOR = "openfl.director.Director", "openfl.aggregator.Aggregator"
GREETINGS = (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"", b"GET / HTTP/1.1\r\n\r\n")

# The service, the method, what is sent, and whether the caller knows the experiment's id.
Input = tuple[str, str, list[bytes], bool]


def experiment_id(lab: Lab, name: str) -> str:
    """Return the id that the director tells the running experiment's collaborators."""
    request = director_pb2.GetExperimentDataRequest(experiment_name=name, collaborator_name=lab.first)
    with lab.envoy_channel(lab.first) as channel:
        call = director_pb2_grpc.DirectorStub(channel).GetExperimentData(request)
        return str(dict(call.initial_metadata())[ID_HEADER])


@st.composite
def port_inputs(draw: Draw) -> Input:
    """A call of somebody who is not enrolled and must change nothing, or bytes that are no call at all."""
    kind = draw(st.integers(0, 9))
    if kind == 9:
        garbage = [draw(st.sampled_from(GREETINGS)), draw(random_bytes(1, 2000))]
        return draw(st.sampled_from((DIRECTOR, AGGREGATOR))), "", garbage, False
    if kind < 5:
        return AGGREGATOR, *aggregator_call(draw, now=0), draw(st.booleans())
    requests = director_requests("none", "nobody")
    del requests["WaitExperiment"]  # its answer takes longer than `CALL_SECONDS`
    name = draw(st.sampled_from(list(requests)))
    return DIRECTOR, name, [draw(damaged_message(requests[name]))], False


def attack_ports(lab: Lab, inputs: int, seed: int) -> tuple[Counter[str], list[str], dict[str, Any]]:
    """Send fuzzed messages to both services during experiments; returns outcomes, flaws, and how these ended.

    One experiment follows another until everything is sent.

    Raises:
        AssertionError: one lost a round or an envoy, or its model differs from that of an undisturbed one.
    """
    script = Script(seconds=dict.fromkeys(lab.ranks, 0.05))
    quiet = lab.run(script, rounds=ROUNDS)
    outcomes, flaws, experiments, connections = Counter[str](), list[str](), 0, itertools.count()

    def send_until(over: threading.Event, known_id: str) -> None:
        while not over.is_set() and outcomes.total() < inputs:
            batch: list[Input] = []
            try_examples(
                port_inputs(), batch.append, INPUTS_A_CONNECTION, f"{seed} ports {next(connections)}"
            )
            send_some(lab, batch[: inputs - outcomes.total()], known_id, outcomes, flaws)

    while outcomes.total() < inputs:
        attack_one(lab, script, send_until, quiet)
        experiments += 1
    ended = {"experiments": experiments, "rounds": ROUNDS, "status": "finished", "models": "bit-identical"}
    return outcomes, flaws, ended


def attack_one(lab: Lab, script: Script, send_until: Callable[..., None], quiet: Outcome) -> None:
    """Call `send_until` from the second round of an experiment to its end."""
    name, over, attacks = lab.new_name(), threading.Event(), list[Future[None]]()
    experiment = lab.submit(script, name=name, rounds=ROUNDS)
    with ThreadPoolExecutor(1) as pool:

        def attack() -> None:
            attacks.append(pool.submit(send_until, over, experiment_id(lab, name)))

        try:
            outcome = follow(experiment, (at(1, lab.first, "train"), attack))
        finally:
            over.set()
    assert outcome.status == "finished", outcome.error
    attacks[0].result()
    for envoy in lab.envoy_names:
        assert outcome.rounds("train", envoy) == list(range(ROUNDS)), outcome.rounds("train", envoy)
    assert not outcome.of("dropped"), outcome.text("dropped")
    assert np.array_equal(outcome.weights, quiet.weights), "the final models differ"


def send_some(lab: Lab, inputs: list[Input], known_id: str, outcomes: Counter[str], flaws: list[str]) -> None:
    """Send messages over one connection to each service."""
    ports = {DIRECTOR: lab.director_port, AGGREGATOR: lab.aggregator_port}
    with contextlib.ExitStack() as stack:
        channels = {service: stack.enter_context(dial.channel(port)) for service, port in ports.items()}
        for service, method, sent, knows in inputs:
            if not method:
                send_garbage(ports[service], sent)
                outcomes["ports: garbage sent"] += 1
                continue
            headers = [(EXPERIMENT, known_id.encode())] * knows
            outcome = call(channels[service], f"/{service}/{method}", sent, headers)
            if outcome.startswith("raised"):
                flaws.append(f"{service}, {method}: {outcome}; it had been sent {repr(sent)[:5000]}")
                outcome = "flaw"
            outcomes[f"port of {service.split('.')[1]}: {outcome}"] += 1


def send_garbage(port: int, sent: list[bytes]) -> None:
    """Send bytes that are not HTTP/2 over a connection of their own."""
    # It is hung up on, and the aggregator's port closes with its experiment.
    with contextlib.suppress(OSError), dial.connection(port, CALL_SECONDS) as connection:
        for part in sent:
            connection.sendall(part)


def call(channel: grpc.Channel, method: str, sent: list[bytes], headers: Any) -> str:
    """Call a method with raw messages; returns the status, or what the handler raised."""
    answers = channel.stream_stream(method)(iter(sent), metadata=headers, timeout=CALL_SECONDS)
    try:
        for _ in itertools.islice(answers, 5):
            pass
        answers.cancel()
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.UNKNOWN:
            return str(error.code().name)
        # gRPC's answer to what the handler raised, and on an event loop also to what cannot be decoded.
        return "not decoded" if "DecodeError" in error.details() else f"raised: {error.details()}"
    return "answered"
