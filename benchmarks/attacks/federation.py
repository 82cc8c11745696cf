"""One experiment: the director's aggregator keeps its rounds, five envoys train, and the last of them lie."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from openfl.protocols import aggregator_pb2

from benchmarks.attacks.attacks import ATTACKS, MAX_CLIPS
from benchmarks.attacks.problem import CLIPS, ENVOYS, SIZE, Problem
from superb_ks.aggregator.aggregator import Aggregator
from superb_ks.schedule import TRAIN
from superb_ks.settings import Privacy, Settings
from superb_ks.strategy_settings import STRATEGIES, FedProx, TrimmedMean
from superb_ks.transport import messages
from superb_ks.types import Vector
from tests.support.aggregator import new_state_folder

ROUNDS = 20
NAMES = [f"env_{number}" for number in range(1, ENVOYS + 1)]

COLUMNS: dict[str, Settings] = {
    **{name: Settings(strategy=kind()) for name, kind in STRATEGIES.items()},
    "trimmed_mean 0.4": Settings(strategy=TrimmedMean(fraction=0.4)),
    "fedavg, private": Settings(privacy=Privacy(clip_norm=1.0, noise_multiplier=0.1)),
}
"""What is compared: each strategy with its defaults, and two variants."""


class Outcome(NamedTuple):
    """How an experiment ended: the last model's test accuracy, why it failed, and how many were refused."""

    accuracy: float
    failure: str | None
    refused: int


def experiment(column: str, attack: str, liars: int, seed: int, rounds: int = ROUNDS) -> Outcome:
    """Run an experiment in which the last `liars` of the envoys lie in every round."""
    problem, settings = Problem(seed), replace(COLUMNS[column], rounds=rounds)
    with tempfile.TemporaryDirectory() as folder:
        at = new_state_folder(Path(folder) / "state", SIZE)
        deceived = [ATTACKS[attack].card_lies and number >= ENVOYS - liars for number in range(ENVOYS)]
        limits = {
            name: {"train": MAX_CLIPS if lies else clips}
            for name, clips, lies in zip(NAMES, CLIPS, deceived, strict=True)
        }
        aggregator = Aggregator(NAMES, settings, at, experiment_id="attacks", clip_limits=limits)
        try:
            return _followed(aggregator, problem, column, attack, liars, seed)
        finally:
            aggregator.stop(reason="the benchmark is over")
            aggregator.state.close()


def _followed(
    aggregator: Aggregator, problem: Problem, column: str, attack: str, liars: int, seed: int
) -> Outcome:
    strategy, lie = COLUMNS[column].strategy, ATTACKS[attack]
    mu = strategy.mu if isinstance(strategy, FedProx) else 0.0
    while True:
        number, start = aggregator.round_number, aggregator.state.last.read()
        for rank, name in enumerate(NAMES):
            tasks, _, _, is_over = aggregator.get_tasks(name)
            if is_over:
                refused = sum(record["task_name"] == "refused" for record in aggregator.records)
                return Outcome(problem.accuracy(start), aggregator.failure, refused)
            for task in tasks or []:
                clips, update = CLIPS[rank], None
                if task.name == TRAIN:
                    update = problem.train(rank, start, mu)
                    if rank >= ENVOYS - liars and lie.is_told(number):
                        shared, own = (np.random.default_rng((seed, number, who)) for who in (ENVOYS, rank))
                        update, clips = lie.lie(start, update, shared, own), lie.clips or clips
                _upload(aggregator, name, task.name, clips, update)


def _upload(aggregator: Aggregator, name: str, task_name: str, clips: int, update: Vector | None) -> None:
    """Deliver results as OpenFL's service hands them to the aggregator."""
    number = aggregator.round_number
    results = aggregator_pb2.TaskResults(task_name=task_name, round_number=number, data_size=clips)
    results.header.sender = name
    measured: dict[str, Any] = {"accuracy": 0.5, "loss": 1.0}  # no strategy looks at them
    results.tensors.extend(messages.metric_message(key, value, number) for key, value in measured.items())
    head, *parts = messages.upload(results, update)
    received = aggregator_pb2.TaskResults.FromString(head)
    taken_in = aggregator.receive(received, parts)
    aggregator.send_local_task_results(name, number, task_name, received.data_size, taken_in)
