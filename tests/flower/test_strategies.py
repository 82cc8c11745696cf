"""Each of our strategies and Flower's for it make the same of three unequal clients."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from flwr.app import Message
from flwr.serverapp.strategy import FedAdam as FlowersFedAdam
from flwr.serverapp.strategy import FedAvg as FlowersFedAvg
from superb_flower import messages
from superb_flower.privacy import counting_the_same, epsilon_of, private_strategy
from superb_flower.strategies import flower_strategy

from superb_ks.aggregator.checkpoint import ExperimentState, write_manifest
from superb_ks.aggregator.model_file import write_model
from superb_ks.aggregator.privacy import PrivateRounds
from superb_ks.aggregator.strategies.registry import make_aggregation
from superb_ks.settings import FedAdam, FedProx, FedYogi, Privacy, TrimmedMean
from superb_ks.strategy_settings import STRATEGIES, Strategy, strategy_named
from superb_ks.types import Vector

pytestmark = pytest.mark.usefixtures("process_of_a_run")

SIZE, ROUNDS = 1000, 4
CLIPS = {"a": 7, "b": 100, "c": 1153}
OTHERS = [
    FedProx(mu=0.5),
    FedAdam(learning_rate=0.1, beta1=0.25, tau=0.01),
    FedYogi(learning_rate=0.1, beta1=0.9),
]


def vector(*seed: int) -> Vector:
    return np.random.default_rng(seed).normal(size=SIZE).astype(np.float32)


def trained(model: Vector, number: int) -> dict[str, Vector]:
    return {name: model + 0.1 * vector(number, index) for index, name in enumerate(CLIPS)}


def flowers_round(strategy: Any, model: Vector, number: int, alike: bool = False) -> Vector:
    """One round with clients that answer in another order than that of their names."""
    nodes = dict(zip(range(1, 4), CLIPS, strict=True))
    grid = SimpleNamespace(get_node_ids=lambda: list(nodes))
    config = messages.request(model, {"round": number})[messages.CONFIG]
    asked = strategy.configure_train(number + 1, messages.arrays_of(model), config, grid)
    updates = trained(model, number)
    replies = []
    for question in sorted(asked, key=lambda question: question.metadata.dst_node_id, reverse=True):
        assert np.array_equal(messages.vector_of(question), model)
        name = nodes[question.metadata.dst_node_id]
        question.metadata.__dict__["_message_id"] = name
        measured = {"train": {"clips": CLIPS[name]}}
        replies.append(Message(messages.report(name, measured, updates[name]), reply_to=question))
    arrays, _ = strategy.aggregate_train(number + 1, counting_the_same(replies) if alike else replies)
    return messages.vector_in(arrays)


def our_round(strategy: Strategy, state: ExperimentState, number: int) -> Vector:
    """The same round on the director."""
    model = state.last.read()
    aggregation = make_aggregation(strategy, state)
    updates = aggregation.collect(CLIPS, SIZE, lambda _: None)
    for name, update in trained(model, number).items():
        updates.add(name, CLIPS[name], update)
    combined = aggregation.next_model(updates.result(), number + 1)
    made = combined.copy()
    state.publish(number + 1, combined)
    return made


def state_of(model: Vector, folder: Path) -> ExperimentState:
    write_model(folder / "round-0.safetensors", model)
    last = {"round": 0, "last": "round-0.safetensors", "best": None, "best_score": None, "digests": {}}
    write_manifest(folder, last)
    return ExperimentState(folder)


@pytest.mark.parametrize(
    "strategy", [*map(strategy_named, STRATEGIES), *OTHERS, TrimmedMean(fraction=0.4)], ids=repr
)
def test_both_engines_aggregate_alike(strategy: Strategy, tmp_path: Path) -> None:
    start = vector(0)
    state = state_of(start, tmp_path)
    flowers, model = flower_strategy(strategy), start
    for number in range(ROUNDS):
        model = flowers_round(flowers, model, number)
        ours = our_round(strategy, state, number)
        # Of the largest weight, which is 4: a step of 0.1 differs by up to 6e-7 of it, one of 0.002 by 6e-8,
        # which is all that float32 can tell apart.
        np.testing.assert_allclose(model, ours, rtol=0, atol=1e-6 * np.abs(ours).max())
        if strategy.name in ("fedavg", "fedprox"):
            assert np.array_equal(model, ours), "bit for bit"


def test_flowers_own_average_has_other_bits_and_its_adam_another_rate(tmp_path: Path) -> None:
    """That is what the table in `superb_flower.strategies` mends."""
    start = vector(0)
    settings = {"weighted_by_key": "clips", "min_train_nodes": 1, "min_available_nodes": 1}
    ours = flowers_round(flower_strategy(strategy_named("fedavg")), start, 0)
    theirs = flowers_round(FlowersFedAvg(**settings), start, 0)
    assert not np.array_equal(ours, theirs)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)
    theirs = flowers_round(FlowersFedAdam(eta=0.01, **settings), start, 0)
    ours = flowers_round(flower_strategy(FedAdam(learning_rate=0.01, beta1=0.9)), start, 0)
    assert np.abs(theirs - ours).max() > 1e-4


def test_both_engines_clip_alike(tmp_path: Path) -> None:
    """With so little noise that it does not show."""
    privacy = Privacy(clip_norm=0.5, noise_multiplier=1e-9)
    start = vector(0)
    state = state_of(start, tmp_path)
    updates = PrivateRounds(state, privacy).collect(CLIPS, SIZE, lambda _: None)
    for name, update in trained(start, 0).items():
        updates.add(name, CLIPS[name], update)
    theirs = flowers_round(private_strategy(privacy, drawn=3, clients=3), start, 0, alike=True)
    np.testing.assert_allclose(theirs - start, updates.result(), rtol=0, atol=1e-6)
    assert 0.1 < np.linalg.norm(theirs - start) <= 0.5


def test_private_rounds_clip_add_noise_and_count() -> None:
    privacy = Privacy(clip_norm=0.5, noise_multiplier=1.0)
    strategy = private_strategy(privacy, drawn=3, clients=3)
    start = np.zeros(SIZE, np.float32)
    assert epsilon_of(strategy) == 0.0
    first = flowers_round(strategy, start, 0, alike=True)
    # Noise of 1.0 * 0.5 / 3 on each weight, next to which three changes of norm 0.5 are small.
    assert first.std() == pytest.approx(0.5 / 3, rel=0.1)
    spent = epsilon_of(strategy)
    assert 3 < spent < 6
    flowers_round(strategy, start, 1, alike=True)
    assert epsilon_of(strategy) > spent
