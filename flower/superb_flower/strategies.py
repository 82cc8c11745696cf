"""Our strategies on Flower: its own classes, and where they differ from the published algorithm, by how much.

The table is in docs/two-engines.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import strategy as flwr_strategy

from superb_flower import messages
from superb_ks.aggregator.strategies.fedavg import FederatedAverage
from superb_ks.aggregator.strategies.trimmed_mean import count_trimmed
from superb_ks.metrics import CLIPS
from superb_ks.strategy_settings import (
    FedAdam,
    FedAvg,
    FedMedian,
    FedProx,
    FedYogi,
    Strategy,
    TrimmedMean,
)

Aggregate = tuple[ArrayRecord | None, MetricRecord | None]


class _ExactSum:
    """The mean of a round's updates, weighted by clips, as the director computes it.

    Flower multiplies each update by its share of the clips, and adds up in the order of arrival. Here updates
    are multiplied by the clips, added up in the order of names, and divided once: the same bits in every run,
    and on both engines.
    """

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> Aggregate:
        """Average the weights; the metrics are pooled elsewhere."""
        updates = {messages.name_of(reply): reply for reply in replies}
        if not updates:
            return None, None
        vectors = {name: messages.vector_of(reply) for name, reply in updates.items()}
        average = FederatedAverage(updates, next(iter(vectors.values())).size)
        for name, reply in updates.items():
            average.add(name, messages.clips_of(reply), vectors[name])
        return messages.arrays_of(average.result()), None


class ExactFedAvg(_ExactSum, flwr_strategy.FedAvg):
    """FedAvg by the exact sum."""


class ExactFedProx(_ExactSum, flwr_strategy.FedProx):
    """FedProx by the exact sum."""


def _begin_second_moment(strategy: flwr_strategy.FedAdam | flwr_strategy.FedYogi) -> None:
    """Let `v` begin with `tau**2`, as in the paper's algorithm 2; Flower lets it begin with 0."""
    if not strategy.v_t and strategy.current_arrays:
        start = np.float32(strategy.tau) ** 2
        strategy.v_t = {name: np.full_like(array, start) for name, array in strategy.current_arrays.items()}


class PlainFedAdam(flwr_strategy.FedAdam):
    """FedAdam without Adam's correction of the rate in the first rounds."""

    eta: float

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> Aggregate:
        """Average, and take the step."""
        _begin_second_moment(self)
        given = self.eta
        correction = np.sqrt(1 - self.beta_2 ** (server_round + 1)) / (1 - self.beta_1 ** (server_round + 1))
        self.eta = float(given / correction)
        try:
            return super().aggregate_train(server_round, replies)
        finally:
            self.eta = given


class PlainFedYogi(flwr_strategy.FedYogi):
    """FedYogi; Flower does not correct its rate."""

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> Aggregate:
        """Average, and take the step."""
        _begin_second_moment(self)
        return super().aggregate_train(server_round, replies)


class AtLeastOneTrimmed(flwr_strategy.FedTrimmedAvg):
    """The trimmed mean that leaves out one value at each end even of a few."""

    def __init__(self, fraction: float, **settings: Any) -> None:
        super().__init__(beta=fraction, **settings)
        self.fraction = fraction

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> Aggregate:
        """Average what is left."""
        replies = list(replies)
        # Flower leaves out int(beta * n) values; the quarter keeps the product above the whole number.
        trimmed = count_trimmed(len(replies), self.fraction)
        self.beta = (trimmed + 0.25) / len(replies) if trimmed else 0.0
        return super().aggregate_train(server_round, replies)


def _no_metrics(records: list[RecordDict], weighted_by: str) -> MetricRecord:
    return MetricRecord()  # `superb_ks.metrics.pooled` does it, for both engines


def flower_strategy(ours: Strategy) -> flwr_strategy.Strategy:
    """Return Flower's strategy for a choice of ours, with its parameters."""
    common: dict[str, Any] = {
        "weighted_by_key": CLIPS,
        **dict.fromkeys(("min_train_nodes", "min_evaluate_nodes", "min_available_nodes"), 1),
        "train_metrics_aggr_fn": _no_metrics,
        "evaluate_metrics_aggr_fn": _no_metrics,
    }
    if isinstance(ours, FedProx):
        return ExactFedProx(proximal_mu=ours.mu, **common)
    if isinstance(ours, (FedAdam, FedYogi)):
        kind = PlainFedAdam if isinstance(ours, FedAdam) else PlainFedYogi
        its: dict[str, Any] = {
            "eta": ours.learning_rate,
            "beta_1": ours.beta1,
            "beta_2": ours.beta2,
            "tau": ours.tau,
        }
        return kind(**its, **common)
    if isinstance(ours, FedMedian):
        return flwr_strategy.FedMedian(**common)
    if isinstance(ours, TrimmedMean):
        return AtLeastOneTrimmed(ours.fraction, **common)
    assert isinstance(ours, FedAvg), ours
    return ExactFedAvg(**common)
