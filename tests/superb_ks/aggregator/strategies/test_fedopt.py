"""FedAdam and FedYogi against numbers worked out by hand."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from superb_ks.aggregator.model_file import ModelFile, write_model
from superb_ks.aggregator.strategies.fedopt import FIRST, SECOND, AdaptiveAggregation
from superb_ks.aggregator.strategies.registry import AGGREGATIONS
from superb_ks.strategy_settings import Adaptive, FedAdam, FedYogi

# Chosen so that the roots are whole: with tau 2, the second moment starts at 4.
PARAMETERS = {"learning_rate": 2.1, "beta1": 0.5, "beta2": 0.75, "tau": 2.0}


def made(kind: type[Adaptive], **parameters: float) -> AdaptiveAggregation:
    """Return the strategy without an experiment: its steps are told where the files are."""
    aggregation = AGGREGATIONS[kind](kind(**{**PARAMETERS, **parameters}), None)
    assert isinstance(aggregation, AdaptiveAggregation)
    return aggregation


def vector(*values: float) -> np.ndarray:
    return np.asarray(values, np.float32)


class Steps:
    """Steps of an optimizer, one after another, from files as the aggregator makes them."""

    def __init__(self, folder: Path, optimizer: AdaptiveAggregation, start: np.ndarray) -> None:
        self.folder, self.optimizer, self.number = folder, optimizer, 0
        self.moments: Path | None = None
        self.model = start

    def step(self, change: np.ndarray) -> np.ndarray:
        write_model(self.folder / "start.safetensors", self.model)
        start = ModelFile(self.folder / "start.safetensors")
        self.number += 1
        new = self.folder / f"{self.number}.moments"
        self.model = self.optimizer.step(self.model + change, start, self.moments, new)
        self.moments = new
        return self.model

    def moment(self, name: str) -> np.ndarray:
        return ModelFile(self.moments, name).read()


def test_two_steps_of_fedadam_by_hand(tmp_path):
    steps = Steps(tmp_path, made(FedAdam), vector(1, 1, 0))
    steps.step(vector(2, 5.5, -2))
    # m = 0.5 d; v = 0.75 · 4 + 0.25 d² = 4, 10.5625, 4 with roots 2, 3.25, 2; steps 2.1 m / (root + 2)
    np.testing.assert_allclose(steps.moment(FIRST), [1, 2.75, -1])
    np.testing.assert_allclose(steps.moment(SECOND), [4, 10.5625, 4])
    np.testing.assert_allclose(steps.model, [1 + 2.1 / 4, 1 + 2.1 * 2.75 / 5.25, -2.1 / 4], rtol=1e-6)
    steps.step(vector(5.5, 3.25, -2))
    # m = 0.5 m + 0.5 d = 3.25, 3, -1.5; v = 10.5625, 10.5625, 4
    np.testing.assert_allclose(steps.moment(FIRST), [3.25, 3, -1.5])
    np.testing.assert_allclose(steps.moment(SECOND), [10.5625, 10.5625, 4])
    np.testing.assert_allclose(steps.model, [1.525 + 1.3, 2.1 + 1.2, -0.525 - 0.7875], rtol=1e-6)


def test_two_steps_of_fedyogi_by_hand(tmp_path):
    steps = Steps(tmp_path, made(FedYogi), vector(1, 1, 0))
    steps.step(vector(2, 3, 1.12))
    # v = 4 - 0.25 d² sign(4 - d²): d² = 4 leaves it, 9 makes it 4 + 2.25, 1.2544 makes it 4 - 0.3136
    np.testing.assert_allclose(steps.moment(SECOND), [4, 6.25, 3.6864], rtol=1e-6)
    np.testing.assert_allclose(steps.model, [1 + 2.1 / 4, 1 + 2.1 * 1.5 / 4.5, 2.1 * 0.56 / 3.92], rtol=1e-6)
    steps.step(vector(3, 0, 0))
    # m = 2, 0.75, 0.28; the second and third v stay: nothing changed, so nothing new is known
    np.testing.assert_allclose(steps.moment(SECOND), [6.25, 6.25, 3.6864], rtol=1e-6)
    np.testing.assert_allclose(steps.model, [1.525 + 2.1 * 2 / 4.5, 1.7 + 0.35, 0.3 + 0.15], rtol=1e-6)


@pytest.mark.parametrize("kind", [FedAdam, FedYogi])
def test_goes_where_fedavg_goes_when_nothing_is_remembered_and_nothing_adapted(tmp_path, kind):
    """With betas of 0 the step is `rate · d / (sqrt(v) + tau)`; a huge tau makes that `d`, times a half
    for Yogi, whose `v` starts at `tau²` and comes down by no more than `d²`."""
    rate = 1e6 if kind is FedAdam else 2e6
    draw = np.random.default_rng(1).standard_normal((2, 50)).astype(np.float32)
    steps = Steps(tmp_path, made(kind, learning_rate=rate, beta1=0.0, beta2=0.0, tau=1e6), draw[0])
    np.testing.assert_allclose(steps.step(draw[1]), draw[0] + draw[1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(steps.step(draw[0]), draw[0] * 2 + draw[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [FedAdam, FedYogi])
def test_no_change_leaves_the_model(tmp_path, kind):
    steps = Steps(tmp_path, made(kind), vector(3, -1))
    assert steps.step(vector(0, 0)).tolist() == [3, -1]


@pytest.mark.parametrize("kind", [FedAdam, FedYogi])
def test_blocks_are_stepped_to_the_last_element(tmp_path, kind):
    draw = np.random.default_rng(0).standard_normal(2**18 * 2 + 3).astype(np.float32)  # three blocks
    whole = Steps(tmp_path, made(kind), np.zeros_like(draw))
    (tmp_path / "end").mkdir()
    end = Steps(tmp_path / "end", made(kind), np.zeros(3, np.float32))
    for _ in range(2):
        assert np.array_equal(whole.step(draw)[-3:], end.step(draw[-3:]))
    assert np.isfinite(whole.model).all() and whole.model.any()


def test_in_memory_are_the_average_and_a_few_blocks(tmp_path):
    size = 2**23
    write_model(tmp_path / "start.safetensors", np.zeros(size, np.float32))
    start, average = ModelFile(tmp_path / "start.safetensors"), np.ones(size, np.float32)
    optimizer = made(FedAdam)
    tracemalloc.start()
    try:
        optimizer.step(average, start, None, tmp_path / "1.moments")
        optimizer.step(average, start, tmp_path / "1.moments", tmp_path / "2.moments")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 0.5 * 4 * size, f"{peak / (4 * size):.2f} models in addition to the average"
