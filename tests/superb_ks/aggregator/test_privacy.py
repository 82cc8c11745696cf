"""What differential privacy has spent: against the accountant's other methods, and kept over a crash."""

import contextlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dp_accounting import GaussianDpEvent, NeighboringRelation
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant

from superb_ks.aggregator.checkpoint import ExperimentState, write_manifest
from superb_ks.aggregator.model_file import write_model
from superb_ks.aggregator.privacy import PrivateRounds, private_rounds
from superb_ks.settings import Privacy

PRIVACY = Privacy(clip_norm=1.0, noise_multiplier=2.0, delta=1e-5)
# One collaborator's update is there, or counts as no change; everybody else's is the same.
ZERO_OUT = NeighboringRelation.REPLACE_SPECIAL


@pytest.fixture
def state(tmp_path: Path):
    write_model(tmp_path / "round-0.safetensors", np.zeros(2, np.float32))
    manifest = {"round": 0, "last": "round-0.safetensors", "best": None, "best_score": None, "digests": {}}
    write_manifest(tmp_path, manifest)
    with contextlib.closing(ExperimentState(tmp_path)) as opened:
        yield opened


def reopened(state: ExperimentState) -> ExperimentState:
    """Open the state as a director does that was killed."""
    state.close()
    return ExperimentState(state.folder)


def spent(state, rounds: int, **changes) -> float:
    private = PrivateRounds(state, replace(PRIVACY, **changes))
    for _ in range(rounds):
        metrics = private.spend(["env_one"])
    return float(metrics["epsilon"])


@pytest.mark.parametrize(
    ("noise_multiplier", "rounds", "delta"),
    [(1.0, 1, 1e-5), (1.0, 3, 1e-5), (2.0, 10, 1e-6), (5.0, 100, 1e-3), (0.5, 2, 1e-5)],
)
def test_epsilon_agrees_with_the_privacy_loss_distribution(state, noise_multiplier, rounds, delta):
    """Two other accountants of the library: the first is tight to its grid, the second an upper bound."""
    epsilon = spent(state, rounds, noise_multiplier=noise_multiplier, delta=delta)
    event = GaussianDpEvent(noise_multiplier)
    tight = PLDAccountant(ZERO_OUT).compose(event, rounds).get_epsilon(delta)
    upper = RdpAccountant(neighboring_relation=ZERO_OUT).compose(event, rounds).get_epsilon(delta)
    assert epsilon == pytest.approx(tight, rel=1e-4)
    assert epsilon <= upper <= 1.25 * epsilon


def test_the_published_value_of_one_gaussian(state):
    """Balle and Wang, 2018, theorem 8: at the epsilon that is returned, delta is what was asked for."""
    from scipy.stats import norm

    epsilon = spent(state, 1, noise_multiplier=1.0)
    delta = norm.cdf(0.5 - epsilon) - np.exp(epsilon) * norm.cdf(-0.5 - epsilon)
    assert delta == pytest.approx(1e-5, rel=1e-6)
    assert epsilon == pytest.approx(4.3772, abs=1e-4)


def test_who_is_drawn_most_often_counts(state):
    """Draws follow from a seed that everybody knows, so a round is free for those who were not drawn."""
    private = PrivateRounds(state, PRIVACY)
    for drawn in ("ab", "bc", "bd"):
        private.spend(drawn)
    three_of_b = private.epsilon
    private.spend("a")
    private.spend("c")
    assert private.epsilon == three_of_b  # a and c come to two each
    private.spend("b")
    assert private.epsilon > three_of_b


def test_nothing_is_spent_before_the_first_round(state):
    assert PrivateRounds(state, PRIVACY).epsilon == 0


def test_a_crash_does_not_reset_what_is_spent(state):
    private = private_rounds(state, PRIVACY)
    private.spend("ab")
    private.spend("ab")
    state.publish(1, np.ones(2, np.float32))
    after_two = private.epsilon
    private.spend("ab")  # of a round that is lost: nobody has seen its model
    with contextlib.closing(reopened(state)) as resumed:
        again = private_rounds(resumed, PRIVACY)
        assert again.epsilon == after_two > 0
        again.spend("ab")
        assert again.epsilon == private.epsilon


@pytest.mark.parametrize(
    ("first", "then"),
    [(PRIVACY, None), (None, PRIVACY), (PRIVACY, replace(PRIVACY, noise_multiplier=0.1))],
)
def test_no_experiment_goes_on_with_other_privacy(state, first, then):
    private = private_rounds(state, first)
    if private:
        private.spend("ab")
    state.publish(1, None)
    refused = pytest.raises(ValueError, match="was begun with differential privacy .* cannot go on with")
    with contextlib.closing(reopened(state)) as again, refused:
        private_rounds(again, then)
