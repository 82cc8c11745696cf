"""Strategies on a real federation of three envoys, one of which may send garbage."""

import numpy as np
import pytest

from superb_ks.settings import FedAdam, FedMedian, Strategy, TrimmedMean
from tests.support.lab import Lab, Outcome, at, follow
from tests.support.sine_experiment import STEPS, Script, ballast_after

pytestmark = pytest.mark.federation

ROUNDS = 2
# The envoy of rank 3 has the most clips, and so the largest weight in an average.
GARBAGE = Script(garbage={3: tuple(range(ROUNDS))})


def best_accuracy(outcome: Outcome) -> float:
    pooled = {r["metric_name"]: r["metric_value"] for r in outcome.of("test_best", "aggregator")}
    return pooled["accuracy"]


@pytest.mark.parametrize("strategy", [FedMedian(), TrimmedMean()])
def test_robust_strategies_withstand_garbage(trio: Lab, strategy: Strategy) -> None:
    outcome = trio.run(GARBAGE, rounds=ROUNDS, strategy=strategy)
    assert outcome.status == "finished", outcome.error
    # Of 1, 2 and garbage far below, rank 1's step is in the middle.
    assert np.isclose(outcome.ballast, ROUNDS * STEPS * 0.01)
    assert best_accuracy(outcome) > 0.9, "the sine waves were not learnt"
    assert outcome.rounds("train", trio.last) == list(range(ROUNDS)), "finite garbage is not refused"


def test_the_average_follows_garbage(trio: Lab) -> None:
    outcome = trio.run(GARBAGE, rounds=1)
    assert outcome.status == "finished", outcome.error
    assert outcome.ballast < -1e5


def test_a_fraction_trains_and_all_validate(trio: Lab) -> None:
    outcome = trio.run(rounds=3, fraction=0.5, seed=1)
    assert outcome.status == "finished", outcome.error
    ranks = []
    for number in range(3):
        trained = {r["metric_origin"] for r in outcome.of("train") if r["round"] == number} - {"aggregator"}
        ranks.append([trio.envoy_names.index(name) + 1 for name in sorted(trained)])
        assert len(trained) == 2
    assert np.isclose(outcome.ballast, ballast_after(ranks))
    for name in trio.envoy_names:
        assert outcome.rounds("validate", name) == [0, 1, 2, 3]


def test_fedadam_resumes_with_its_moments_after_the_director_was_killed(trio: Lab) -> None:
    settings = {"rounds": 4, "strategy": FedAdam(learning_rate=0.1)}
    whole = trio.run(**settings)
    assert whole.status == "finished", whole.error
    slowly, name = Script(seconds=dict.fromkeys(trio.ranks, 0.3)), trio.new_name()
    experiment = trio.submit(slowly, name=name, **settings)
    trio.crash_director(experiment, at(2, trio.first, "train"))
    resumed = follow(trio.submit(slowly, name=name, resume=True, **settings))
    assert resumed.status == "finished", resumed.error
    assert np.array_equal(resumed.weights, whole.weights)
