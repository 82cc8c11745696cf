"""Each strategy by its name, on the same three unequal collaborators, against numbers worked out by hand."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from superb_ks import settings
from superb_ks.aggregator.checkpoint import ExperimentState, write_manifest
from superb_ks.aggregator.model_file import write_model
from superb_ks.aggregator.strategies import registry as strategies
from superb_ks.aggregator.strategies.registry import STRATEGIES, make_strategy

# What three collaborators arrive at from 1 and 1, and on how many clips. Their weighted mean: 3 and 0.
SENT = {"a": (10, (5, 0)), "b": (20, (1, 1)), "c": (10, (5, -2))}
START = (1, 1)
# (0.5 · 2, 0.5 · -1) for the first moment, 0.75 · 4 + 0.25 · (4, 1) or 4 - 0.25 · (0, 1) for the second.
ADAPTIVE = {"server_learning_rate": 8.0, "server_beta1": 0.5, "server_beta2": 0.75, "server_tau": 2.0}
BY_HAND = {
    "fedavg": ({}, (3, 0)),
    "fedprox": ({"proximal_mu": 0.1}, (3, 0)),
    "fedadam": (ADAPTIVE, (1 + 8 * 1 / (2 + 2), 1 - 8 * 0.5 / (3.25**0.5 + 2))),
    "fedyogi": (ADAPTIVE, (1 + 8 * 1 / (2 + 2), 1 - 8 * 0.5 / (3.75**0.5 + 2))),
    "median": ({}, (5, 0)),
    "trimmed_mean": ({"trim_fraction": 0.1}, (5, 0)),
}


@pytest.fixture
def state(tmp_path: Path) -> Iterator[ExperimentState]:
    write_model(tmp_path / "round-0.safetensors", np.asarray(START, np.float32), {})
    write_manifest(
        tmp_path,
        {"round": 0, "last": "round-0.safetensors", "best": None, "best_score": None, "digests": {}},
    )
    with contextlib.closing(ExperimentState(tmp_path)) as opened:
        yield opened


def next_model(name: str, parameters: dict, state: ExperimentState, sent: dict = SENT) -> np.ndarray:
    strategy = make_strategy(name, state, parameters)
    updates = strategy.collect(sent, 2, lambda _: None)
    for collaborator in reversed(sent):
        clips, weights = sent[collaborator]
        updates.add(collaborator, clips, np.asarray(weights, np.float32))
    return strategy.next_model(updates.result(), 1)


def test_the_settings_know_every_strategy_and_what_it_takes(state):
    assert list(STRATEGIES) == list(settings.STRATEGIES) == list(BY_HAND)
    for name, defaults in settings.STRATEGIES.items():
        assert next_model(name, defaults, state).shape == (2,)


@pytest.mark.parametrize("name", STRATEGIES)
def test_by_hand(state, name):
    parameters, expected = BY_HAND[name]
    np.testing.assert_allclose(next_model(name, parameters, state), expected, rtol=1e-6, atol=1e-6)


def test_an_unknown_strategy_is_named(state):
    with pytest.raises(ValueError, match="strategy is 'fedsgd'; legal: fedavg, fedprox, fedadam"):
        make_strategy("fedsgd", state, {})


@pytest.mark.parametrize("mu", [0.0, 0.1])
def test_on_the_director_fedprox_is_fedavg(state, mu):
    prox = next_model("fedprox", {"proximal_mu": mu}, state)
    assert prox.tobytes() == next_model("fedavg", {}, state).tobytes()


def test_of_equal_updates_all_but_the_adaptive_make_the_same(state):
    sent = {name: (clips, (0.1, -3)) for name, (clips, _) in SENT.items()}
    for name in ("fedavg", "fedprox", "median", "trimmed_mean"):
        np.testing.assert_allclose(next_model(name, BY_HAND[name][0], state, sent), (0.1, -3), rtol=1e-6)


@pytest.mark.parametrize("name", STRATEGIES)
def test_garbage_of_one_of_three_moves_the_robust_ones_only(state, name):
    sent = {**SENT, "c": (10**6, (-1e9, 1e9))}
    model = next_model(name, BY_HAND[name][0], state, sent)
    if name in ("median", "trimmed_mean"):
        assert model.tolist() == [1, 1]  # of (5, 1, garbage) and (0, 1, garbage)
    elif name in ("fedavg", "fedprox"):
        assert (np.abs(model) > 1e8).all()
    else:  # no step is longer than rate · (1 - beta1) / sqrt(1 - beta2), which is far enough
        assert (np.abs(model - START) > 7).all()


def test_the_moments_are_kept_beside_the_model_until_the_next(state):
    for number, expected in ((1, 1 + 8 * 1 / 4), (2, 3 + 8 * 0.5 / (3**0.5 + 2))):
        strategy = make_strategy("fedadam", state, ADAPTIVE)
        average = state.last.read() + np.float32(2 if number == 1 else 0)
        state.publish(number, strategy.next_model(average, number))
        np.testing.assert_allclose(state.last.read()[0], expected, rtol=1e-6)
        names = [path.name for path in state.folder.glob("*.moments.safetensors")]
        assert names == [f"round-{number}.moments.safetensors"]


def test_updates_that_a_crash_left_are_swept(state):
    state.updates_folder.mkdir()
    (state.updates_folder / "0.float32").write_bytes(b"1234")
    with contextlib.closing(ExperimentState(state.folder)):
        assert not state.updates_folder.exists()


def test_every_strategy_says_where_its_formula_is_from():
    for cls in strategies.STRATEGIES.values():
        assert " et al., " in (cls.__doc__ or "")
