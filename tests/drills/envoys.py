"""Drills in which something happens to an envoy."""

from __future__ import annotations

import time

import numpy as np

from superb_ks.settings import Failures
from superb_notebook.connect import FederationError
from tests.drills.drill import drill
from tests.support.lab import Lab, at, follow, wait_until
from tests.support.sine_experiment import Script, ballast_after


def _close(value: float, expected: float) -> bool:
    return bool(np.isclose(value, expected, rtol=1e-4))


@drill("envoy killed in a round: cut-off", quick=True)
def killed_with_cutoff(lab: Lab) -> str:
    """The round closes with those who reported, later ones go on, the others' weights are renormalised."""
    script = Script(seconds={lab.ranks[-1]: 3})
    kill = (at(1, lab.first, "train"), lambda: lab.kill(lab.last))
    outcome = lab.run(script, kill, rounds=3, failures=Failures(round_timeout_seconds=8))
    assert outcome.status == "finished", outcome.error
    assert outcome.rounds("train", lab.first) == [0, 1, 2]
    assert outcome.rounds("train", lab.last) == [0]
    assert f"round 1, {lab.last}: did not report within 8 s" in outcome.text("dropped")
    others = lab.ranks[:-1]
    assert _close(outcome.ballast, ballast_after([lab.ranks, others, others])), outcome.ballast
    return "closed at the cut-off of 8 s, finished with the others' weights renormalised"


@drill("envoy killed in a round: no heartbeat")
def killed_without_cutoff(lab: Lab) -> str:
    """Without a cut-off, three missed heartbeats are enough."""
    kill = (at(1, lab.first, "train"), lambda: lab.kill(lab.last))
    outcome = lab.run(Script(seconds={lab.ranks[-1]: 3}), kill, rounds=3)
    assert outcome.status == "finished", outcome.error
    assert f"round 1, {lab.last}: no heartbeat for" in outcome.text("dropped")
    assert outcome.rounds("train", lab.first) == [0, 1, 2]
    return f"dropped after {3 * lab.health_seconds} s of silence, finished with the others"


@drill("killed envoy starts again")
def killed_and_back(lab: Lab) -> str:
    """It takes part again in the running experiment."""
    experiment = lab.submit(
        Script(seconds={lab.ranks[0]: 0.3, lab.ranks[-1]: 1.0}),
        rounds=2000,
        failures=Failures(round_timeout_seconds=6),
    )
    outcome = follow(
        experiment,
        (at(1, lab.first, "train"), lambda: lab.kill(lab.last)),
        # Only then: one that is back before the cut-off simply repeats the round's task.
        (
            lambda r: (r["metric_origin"], r["task_name"]) == (lab.last, "dropped"),
            lambda: lab.restart(lab.last),
        ),
        (lambda r: (r["metric_origin"], r["task_name"]) == (lab.last, "returned"), lambda: None),
        (lambda r: (r["metric_origin"], r["task_name"]) == (lab.last, "train"), experiment.stop),
    )
    assert outcome.status == "stopped", outcome.error
    back = int(outcome.of("returned", lab.last)[0]["round"])
    assert back in outcome.rounds("train", lab.last)
    return f"registered by itself, took part from round {back} on; stop() ended the experiment"


@drill("fewer envoys than the minimum left", quick=True)
def fewer_than_minimum(lab: Lab) -> str:
    """The experiment fails within the cut-off; the last aggregate is kept, the reason is told."""
    killed_at = []

    def kill() -> None:
        lab.kill(lab.last)
        killed_at.append(time.monotonic())

    script = Script(seconds={lab.ranks[-1]: 3})
    outcome = lab.run(
        script,
        (at(1, lab.first, "train"), kill),
        rounds=4,
        failures=Failures(min_envoys=len(lab.ranks), round_timeout_seconds=8),
    )
    seconds = time.monotonic() - killed_at[0]
    assert outcome.status == "failed"
    assert f"min_envoys is {len(lab.ranks)}" in outcome.error, outcome.error
    assert seconds < 8 + 4, f"took {seconds:.1f} s"
    assert _close(outcome.ballast, ballast_after([lab.ranks])), "the aggregate of round 0 is lost"
    return f"failed {seconds:.1f} s after the kill (cut-off 8 s), last aggregate kept"


@drill("task raises on one envoy: fail", quick=True)
def raises_and_fails(lab: Lab) -> str:
    """The traceback reaches the notebook, no envoy loops, and the next experiment runs."""
    before = {name: len(lab.log(name)) for name in lab.envoy_names}
    outcome = lab.run(Script(raises={lab.ranks[-1]: (1,)}), rounds=3)
    assert outcome.status == "failed"
    assert "Traceback" in outcome.error, outcome.error
    assert "ArithmeticError" in outcome.error
    assert f"rank {lab.ranks[-1]} cannot train in round 1" in outcome.error
    _no_loop(lab, before)
    return "failed with the envoy's traceback; the next experiment finished"


@drill("task raises on one envoy: continue", quick=True)
def raises_and_continues(lab: Lab) -> str:
    """The others go on without it."""
    before = {name: len(lab.log(name)) for name in lab.envoy_names}
    outcome = lab.run(
        Script(raises={lab.ranks[-1]: (1,)}), rounds=3, failures=Failures(on_task_error="continue")
    )
    assert outcome.status == "finished", outcome.error
    assert f"rank {lab.ranks[-1]} cannot train in round 1" in outcome.text("dropped")
    assert "Traceback" in outcome.text("dropped")
    others = lab.ranks[:-1]
    assert _close(outcome.ballast, ballast_after([lab.ranks, others, others])), outcome.ballast
    _no_loop(lab, before)
    return "finished without it, its traceback in the records; the next experiment finished"


@drill("collaborator cannot be built on one envoy", quick=True)
def cannot_build(lab: Lab) -> str:
    """What fails before the first task is reported like a task that raises."""
    before = {name: len(lab.log(name)) for name in lab.envoy_names}
    broken = Script(cannot_build=(lab.ranks[-1],))
    outcome = lab.run(broken, rounds=2)
    assert outcome.status == "failed"
    assert "cannot build its data" in outcome.error, outcome.error
    _no_loop(lab, before)
    slow = Script(cannot_build=(lab.ranks[-1],), seconds={lab.ranks[0]: 0.5})
    outcome = lab.run(slow, rounds=4, failures=Failures(on_task_error="continue"))
    assert outcome.status == "finished", outcome.error
    assert "cannot build its data" in outcome.text("dropped")
    _no_loop(lab, before)
    return "failed, or finished without it, as set"


def _no_loop(lab: Lab, before: dict[str, int]) -> None:
    """Check that no envoy took part in an experiment twice, and that the next experiment runs.

    Args:
        lab: the federation.
        before: length of each envoy's log when the drill began.
    """
    for name in lab.envoy_names:
        words = [line.split()[-2:] for line in lab.log(name)[before[name] :].splitlines()]
        names = [last for word, last in (pair for pair in words if len(pair) == 2) if word == "Experiment"]
        assert len(names) == len(set(names)), f"{name} loops: {names}"
    outcome = lab.run(rounds=1)
    assert outcome.status == "finished", outcome.error
    assert all(outcome.rounds("train", name) == [0] for name in lab.envoy_names)


@drill("update with NaN, of another shape, of no clips", quick=True)
def bad_updates(lab: Lab) -> str:
    """They are refused by name and reason, and counted; the aggregate stays finite."""
    rank = lab.ranks[-1]
    script = Script(nan={rank: (0,)}, other_shape={rank: (1,)}, no_clips={rank: (2,)})
    outcome = lab.run(script, rounds=4)
    assert outcome.status == "finished", outcome.error
    refused = outcome.of("refused", lab.last)
    assert [record["round"] for record in refused] == [0, 1, 2]
    for record, reason in zip(refused, ("not finite", "the model has", "clips"), strict=True):
        assert lab.last in record["metric_name"], record
        assert reason in record["metric_name"], record
    others = lab.ranks[:-1]
    assert np.isfinite(outcome.weights).all()
    assert _close(outcome.ballast, ballast_after([others, others, others, lab.ranks])), outcome.ballast
    return "three refusals with name and reason, aggregate finite, fourth update averaged"


@drill("slow envoy with a cut-off", quick=True)
def slow_envoy(lab: Lab) -> str:
    """Its task is ended in the middle, and it takes part again from the next round on."""
    logs = {name: len(lab.log(name)) for name in lab.processes}
    script = Script(seconds={**dict.fromkeys(lab.ranks[:-1], 1.0), lab.ranks[-1]: 600.0})
    outcome = lab.run(script, rounds=3, failures=Failures(round_timeout_seconds=4))
    assert outcome.status == "finished", outcome.error
    assert f"round 0, {lab.last}: did not report within 4 s" in outcome.text("dropped"), outcome.records
    assert lab.last in outcome.text("returned")
    assert "its process was ended" in lab.log(lab.last)[logs[lab.last] :]
    for name, length in logs.items():
        assert "Traceback" not in lab.log(name)[length:], name
    times = len(outcome.of("returned", lab.last))
    return f"its task of 600 s ended at the cut-off of 4 s, it returned {times} times, finished"


@drill("stopped envoy is not enrolled")
def stopped_envoy(lab: Lab) -> str:
    """An envoy that stopped 15 s ago is not enrolled; fewer than the minimum refuses by name."""
    lab.stop_service(lab.last)
    wait_until(lambda: lab.last not in lab.registered(), 3 * lab.health_seconds)
    refusal = ""
    try:
        lab.submit(failures=Failures(min_envoys=len(lab.ranks)))
    except FederationError as refused:
        refusal = str(refused)
    assert f"min_envoys is {len(lab.ranks)}" in refusal, refusal or "the submission was not refused"
    assert lab.first in refusal, refusal
    outcome = lab.run(rounds=1)
    assert outcome.status == "finished", outcome.error
    assert outcome.of("train", lab.last) == []
    assert outcome.of("dropped") == []
    return "refused by name with min_envoys; enrolled only who lives without"


@drill("name of another living envoy", quick=True)
def duplicate_name(lab: Lab) -> str:
    """A second folder cannot take the name of an envoy that lives; it ends with one line."""
    code, output = lab.impostor(lab.last)
    assert code == 75, output  # try again later: the name may become free
    assert output.count("\n") <= 2, output
    assert lab.last in output.splitlines()[-1], output
    outcome = lab.run(rounds=1)
    assert outcome.status == "finished", outcome.error
    assert outcome.rounds("train", lab.last) == [0]
    return "refused with one line; the first keeps its place"
