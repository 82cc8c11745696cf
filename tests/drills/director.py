"""Drills in which something happens to the director, or on the way to it."""

from __future__ import annotations

import contextlib
import resource
import time
from collections.abc import Callable, Iterator

import numpy as np
import psutil

from superb_node import local_socket
from superb_notebook.connect import FederationError
from tests.drills.drill import drill
from tests.support.lab import Lab, Outcome, at, follow, wait_until
from tests.support.sine_experiment import Script

REGISTRATION_SECONDS = 30
ERROR_SECONDS = 10
EXPERIMENTS = 20


@drill("director killed in round 3 of 6, resumed", quick=True)
def killed_director(lab: Lab) -> str:
    """Envoys come back by themselves; the resumed experiment ends with the very same model."""
    uninterrupted = lab.run(rounds=6)
    assert uninterrupted.status == "finished", uninterrupted.error
    name = lab.new_name()
    slowly = Script(seconds=dict.fromkeys(lab.ranks, 0.3))
    experiment = lab.submit(slowly, name=name, rounds=6)
    outcome = follow(experiment, (at(2, lab.first, "train"), lambda: lab.kill("director")))
    assert "the director does not answer" in outcome.error, outcome.error
    lab.restart("director")
    seconds = wait_until(lambda: living(lab) == set(lab.envoy_names), REGISTRATION_SECONDS)
    assert experiment.status() == "interrupted", "the notebook's old connection"
    resumed = follow(lab.submit(slowly, name=name, rounds=6, resume=True))
    assert resumed.status == "finished", resumed.error
    for envoy in lab.envoy_names:
        assert resumed.rounds("train", envoy) == list(range(6)), resumed.rounds("train", envoy)
        assert len(resumed.of("train", envoy)) == len(uninterrupted.of("train", envoy))
    assert np.array_equal(resumed.weights, uninterrupted.weights), "the final models differ"
    return f"envoys back after {seconds:.1f} s, final model bit-identical"


def living(lab: Lab) -> set[str]:
    """Return who is registered; nobody while the director does not answer."""
    try:
        return lab.registered()
    except Exception:
        return set()


@drill("aggregator's port is taken", quick=True)
def port_taken(lab: Lab) -> str:
    """One clear error; with the port free, the next experiment runs."""
    with local_socket.only_listener(lab.aggregator_port):
        outcome, seconds = timed(lab.run)
    return one_clear_error(lab, outcome, seconds, str(lab.aggregator_port))


@drill("aggregator cannot start", quick=True)
def cannot_start(lab: Lab) -> str:
    """A model that was damaged on the director's disk fails the experiment with one error."""
    name = lab.new_name()
    slowly = Script(seconds=dict.fromkeys(lab.ranks, 0.3))
    stopped = lab.submit(slowly, name=name, rounds=50)
    follow(stopped, (at(1, lab.first, "train"), stopped.stop))
    folder = lab.nodes_dir / "director" / "experiments" / name
    for model in folder.glob("*.safetensors"):
        model.write_bytes(model.read_bytes()[:100])
    outcome, seconds = timed(lambda: lab.run(slowly, name=name, rounds=50, resume=True))
    return one_clear_error(lab, outcome, seconds, "safetensors")


@drill("experiment damaged on its way to the director", quick=True)
def damaged_submission(lab: Lab) -> str:
    """Half a text is noticed, and so is a changed byte."""
    started = time.monotonic()
    for damage in (cut_in_half, flip_a_byte):
        try:
            outcome = lab.run(on_the_way=damage)
        except FederationError as refused:
            outcome = Outcome(status="failed", error=str(refused))
        assert outcome.status == "failed", damage
        assert "the experiment is not JSON" in outcome.error, outcome.error
    return one_clear_error(lab, outcome, time.monotonic() - started, "not JSON")


@drill("director's disk is full", quick=True)
def disk_full(lab: Lab) -> str:
    """At the submission and in a round: one clear error, and the director lives on."""
    with full_disk(lab):
        try:
            outcome, seconds = timed(lab.run)
        except FederationError as refused:
            outcome, seconds = Outcome(status="failed", error=str(refused)), 0.0
    one_clear_error(lab, outcome, seconds, "too large")
    slowly = Script(seconds=dict.fromkeys(lab.ranks, 0.3))
    with contextlib.ExitStack() as until_the_end:
        filled_at = []

        def fill() -> None:
            filled_at.append(time.monotonic())
            until_the_end.enter_context(full_disk(lab))

        outcome = lab.run(slowly, (at(1, lab.first, "train"), fill), rounds=50)
        seconds = time.monotonic() - filled_at[0]
    return one_clear_error(lab, outcome, seconds, "too large")


@contextlib.contextmanager
def full_disk(lab: Lab) -> Iterator[None]:
    """Let every write of the director beyond a file's first hundred bytes fail, as a full disk would."""
    pid = lab.processes["director"].pid
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


@drill("20 experiments, each with changed code")
def twenty_experiments(lab: Lab) -> str:
    """Each runs its own code; memory grows by less than 5 % after the third."""
    lab.heal()
    before = {}
    for number in range(1, EXPERIMENTS + 1):
        outcome = lab.run(Script(edition=number), rounds=2)
        assert outcome.status == "finished", outcome.error
        editions = {r["metric_value"] for r in outcome.of("validate") if r["metric_name"] == "edition"}
        assert editions == {float(number)}, f"experiment {number} ran the code of {editions}"
        if number == 3:
            before = memory(lab)
    growth = {name: after / before[name] - 1 for name, after in memory(lab).items()}
    assert max(growth.values()) < 0.05, growth
    told = ", ".join(f"{name} {share:+.1%}" for name, share in growth.items())
    return f"each ran its own code; memory after the 20th against the third: {told}"


def memory(lab: Lab) -> dict[str, int]:
    """Return the resident bytes of director and envoys."""
    return {name: psutil.Process(process.pid).memory_info().rss for name, process in lab.processes.items()}


def timed(run: Callable[[], Outcome]) -> tuple[Outcome, float]:
    """Return an outcome and after how many seconds it came."""
    started = time.monotonic()
    return run(), time.monotonic() - started


def one_clear_error(lab: Lab, outcome: Outcome, seconds: float, reason: str) -> str:
    """Check that an experiment failed soon and says why, and that the next one runs."""
    assert outcome.status == "failed", f"{outcome.status} {outcome.error}"
    assert reason in outcome.error, outcome.error
    assert seconds < ERROR_SECONDS, f"took {seconds:.1f} s"
    lab.check()
    following = lab.run(rounds=1)
    assert following.status == "finished", following.error
    assert all(following.rounds("train", name) == [0] for name in lab.envoy_names)
    return f"one error after {seconds:.1f} s; the next experiment finished"


def cut_in_half(text: bytes) -> bytes:
    """Keep the first half."""
    return text[: len(text) // 2]


def flip_a_byte(text: bytes) -> bytes:
    """Change one byte in the middle."""
    middle = len(text) // 2
    return text[:middle] + bytes([text[middle] ^ 0xFF]) + text[middle + 1 :]
