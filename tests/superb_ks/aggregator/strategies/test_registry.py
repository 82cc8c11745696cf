"""Each strategy by its name, on the same three unequal collaborators, against numbers worked out by hand."""

import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from superb_ks.aggregator.checkpoint import ExperimentState, write_manifest
from superb_ks.aggregator.model_file import write_model
from superb_ks.aggregator.strategies.registry import AGGREGATIONS, make_aggregation
from superb_ks.aggregator.strategies.stored_updates import StoringAggregation
from superb_ks.checked import ABOVE_0, checked
from superb_ks.settings import Privacy, Settings
from superb_ks.strategy_settings import (
    STRATEGIES,
    FedAdam,
    FedAvg,
    FedMedian,
    FedProx,
    FedYogi,
    Strategy,
    TrimmedMean,
    strategy_named,
)
from superb_notebook.choices import strategies_table

# What three collaborators arrive at from 1 and 1, and on how many clips. Their weighted mean: 3 and 0.
SENT = {"a": (10, (5, 0)), "b": (20, (1, 1)), "c": (10, (5, -2))}
START = (1, 1)
# (0.5 · 2, 0.5 · -1) for the first moment, 0.75 · 4 + 0.25 · (4, 1) or 4 - 0.25 · (0, 1) for the second.
ADAPTIVE = {"learning_rate": 8.0, "beta1": 0.5, "beta2": 0.75, "tau": 2.0}
BY_HAND = {
    "fedavg": (FedAvg(), (3, 0)),
    "fedprox": (FedProx(mu=0.1), (3, 0)),
    "fedadam": (FedAdam(**ADAPTIVE), (1 + 8 * 1 / (2 + 2), 1 - 8 * 0.5 / (3.25**0.5 + 2))),
    "fedyogi": (FedYogi(**ADAPTIVE), (1 + 8 * 1 / (2 + 2), 1 - 8 * 0.5 / (3.75**0.5 + 2))),
    "median": (FedMedian(), (5, 0)),
    "trimmed_mean": (TrimmedMean(fraction=0.1), (5, 0)),
}


@pytest.fixture
def state(tmp_path: Path) -> Iterator[ExperimentState]:
    write_model(tmp_path / "round-0.safetensors", np.asarray(START, np.float32))
    write_manifest(
        tmp_path,
        {"round": 0, "last": "round-0.safetensors", "best": None, "best_score": None, "digests": {}},
    )
    with contextlib.closing(ExperimentState(tmp_path)) as opened:
        yield opened


def next_model(strategy: Strategy, state: ExperimentState, sent: dict = SENT) -> np.ndarray:
    aggregation = make_aggregation(strategy, state)
    updates = aggregation.collect(sent, 2, lambda _: None)
    for collaborator in reversed(sent):
        clips, weights = sent[collaborator]
        updates.add(collaborator, clips, np.asarray(weights, np.float32))
    return aggregation.next_model(updates.result(), 1)


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_works_with_its_defaults(state, name):
    assert name in BY_HAND
    assert next_model(STRATEGIES[name](), state).shape == (2,)


@pytest.mark.parametrize("name", STRATEGIES)
def test_by_hand(state, name):
    strategy, expected = BY_HAND[name]
    np.testing.assert_allclose(next_model(strategy, state), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("mu", [0.0, 0.1])
def test_on_the_director_fedprox_is_fedavg(state, mu):
    prox = next_model(FedProx(mu=mu), state)
    assert prox.tobytes() == next_model(FedAvg(), state).tobytes()


def test_of_equal_updates_all_but_the_adaptive_make_the_same(state):
    sent = {name: (clips, (0.1, -3)) for name, (clips, _) in SENT.items()}
    for name in ("fedavg", "fedprox", "median", "trimmed_mean"):
        np.testing.assert_allclose(next_model(BY_HAND[name][0], state, sent), (0.1, -3), rtol=1e-6)


@pytest.mark.parametrize("name", STRATEGIES)
def test_garbage_of_one_of_three_moves_the_robust_ones_only(state, name):
    sent = {**SENT, "c": (10**6, (-1e9, 1e9))}
    model = next_model(BY_HAND[name][0], state, sent)
    if name in ("median", "trimmed_mean"):
        assert model.tolist() == [1, 1]  # of (5, 1, garbage) and (0, 1, garbage)
    elif name in ("fedavg", "fedprox"):
        assert (np.abs(model) > 1e8).all()
    else:  # no step is longer than rate · (1 - beta1) / sqrt(1 - beta2), which is far enough
        assert (np.abs(model - START) > 7).all()


def test_the_moments_are_kept_beside_the_model_until_the_next(state):
    for number, expected in ((1, 1 + 8 * 1 / 4), (2, 3 + 8 * 0.5 / (3**0.5 + 2))):
        aggregation = make_aggregation(FedAdam(**ADAPTIVE), state)
        average = state.last.read() + np.float32(2 if number == 1 else 0)
        state.publish(number, aggregation.next_model(average, number))
        np.testing.assert_allclose(state.last.read()[0], expected, rtol=1e-6)
        names = [path.name for path in state.folder.glob("*.moments.safetensors")]
        assert names == [f"round-{number}.moments.safetensors"]


def test_updates_that_a_crash_left_are_swept(state):
    state.updates_folder.mkdir()
    (state.updates_folder / "0.float32").write_bytes(b"1234")
    with contextlib.closing(ExperimentState(state.folder)):
        assert not state.updates_folder.exists()


def test_every_strategy_says_where_its_formula_is_from():
    for kind in STRATEGIES.values():
        module = sys.modules[AGGREGATIONS[kind].__module__]
        assert " et al., " in (module.__doc__ or "")


def test_a_new_strategy_is_a_class_of_settings_and_one_that_does_the_work(state, monkeypatch):
    """Settings, their JSON, the aggregator and the notebook's table know it from these two."""

    @dataclass(frozen=True, kw_only=True)
    class Largest(Strategy):
        name = "largest"
        summary = "of each weight the largest"
        averages = False

        scale: float = checked(ABOVE_0, 2.0)

    class LargestAggregation(StoringAggregation):
        def combine(self, values):
            return values.max(axis=0) * np.float32(self.settings.scale)

    monkeypatch.setitem(STRATEGIES, Largest.name, Largest)
    monkeypatch.setitem(AGGREGATIONS, Largest, LargestAggregation)

    settings = Settings(strategy=Largest(scale=3.0))
    assert Settings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings
    assert strategy_named("largest") == Largest()
    assert next_model(settings.strategy, state).tolist() == [15, 3]
    table = strategies_table(settings)
    assert table.rows[table.bold] == ["largest", "of each weight the largest", "scale=3"]
    with pytest.raises(ValueError, match="Settings.strategy is .*Largest.*; legal: .* with privacy"):
        replace(settings, privacy=Privacy(clip_norm=1.0, noise_multiplier=1.0))
