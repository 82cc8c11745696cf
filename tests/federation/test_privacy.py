"""Differential privacy on a real federation: epsilon by round, noise in the model, a killed director."""

import math

import numpy as np
import pytest
from dp_accounting import get_epsilon_gaussian

from superb_ks.settings import Privacy
from tests.support.lab import Lab, at, follow
from tests.support.sine_experiment import Script

pytestmark = pytest.mark.federation

ROUNDS, CLIP_NORM, NOISE_MULTIPLIER, DELTA = 3, 0.5, 0.8, 1e-4
PRIVACY = Privacy(clip_norm=CLIP_NORM, noise_multiplier=NOISE_MULTIPLIER, delta=DELTA)


def test_epsilon_is_told_each_round_and_outlives_the_director(lab: Lab) -> None:
    slowly, name = Script(seconds=dict.fromkeys(lab.ranks, 0.3)), lab.new_name()
    settings = {"rounds": ROUNDS, "privacy": PRIVACY}
    experiment = lab.submit(slowly, name=name, **settings)
    lab.crash_director(experiment, at(1, lab.first, "train"))
    outcome = follow(lab.submit(slowly, name=name, resume=True, **settings))
    assert outcome.status == "finished", outcome.error

    told = [r["metric_value"] for r in outcome.of("privacy", "aggregator") if r["metric_name"] == "epsilon"]
    by_rounds = [get_epsilon_gaussian(NOISE_MULTIPLIER / math.sqrt(k), DELTA) for k in (1, 2, 3)]
    assert told == pytest.approx(by_rounds, rel=1e-6)  # records are 32-bit floats
    # Without noise the ballast's weights are all the same.
    ballast = outcome.weights[-100_000:].astype(np.float64)
    expected = math.sqrt(ROUNDS) * NOISE_MULTIPLIER * CLIP_NORM / len(lab.ranks)
    assert ballast.std() == pytest.approx(expected, rel=6 / math.sqrt(2 * ballast.size))


def test_an_experiment_that_was_begun_without_is_not_resumed_with_it(lab: Lab) -> None:
    name = lab.new_name()
    slowly = Script(seconds=dict.fromkeys(lab.ranks, 0.3))
    experiment = lab.submit(slowly, name=name, rounds=20)
    follow(experiment, (at(1, lab.first, "train"), experiment.stop))
    outcome = follow(lab.submit(slowly, name=name, rounds=20, resume=True, privacy=PRIVACY))
    assert outcome.status == "failed"
    assert "begun with differential privacy off, and cannot go on with" in outcome.error
