"""From a strategy's settings to what it does; the list of strategies is in `superb_ks.strategy_settings`."""

from __future__ import annotations

from superb_ks.aggregator.checkpoint import ExperimentState
from superb_ks.aggregator.strategies.fedavg import FedAvgAggregation
from superb_ks.aggregator.strategies.fedopt import FedAdamAggregation, FedYogiAggregation
from superb_ks.aggregator.strategies.median import MedianAggregation
from superb_ks.aggregator.strategies.trimmed_mean import TrimmedMeanAggregation
from superb_ks.aggregator.strategies.updates import Aggregation
from superb_ks.strategy_settings import (
    FedAdam,
    FedAvg,
    FedMedian,
    FedProx,
    FedYogi,
    Strategy,
    TrimmedMean,
)

AGGREGATIONS: dict[type[Strategy], type[Aggregation]] = {
    FedAvg: FedAvgAggregation,
    FedProx: FedAvgAggregation,  # the proximal term belongs to the training: `superb_ks.training.proximal`
    FedAdam: FedAdamAggregation,
    FedYogi: FedYogiAggregation,
    FedMedian: MedianAggregation,
    TrimmedMean: TrimmedMeanAggregation,
}
"""What does the work of each strategy."""


def make_aggregation(strategy: Strategy, state: ExperimentState) -> Aggregation:
    """Return a strategy at work in an experiment.

    Args:
        strategy: with its parameters.
        state: the experiment's, on disk.
    """
    if state.manifest.get("moments") and state.moments(strategy.name) is None:
        # An experiment that is resumed with another strategy does not keep the old one's moments.
        state.mark_moments(strategy.name, None)
    return AGGREGATIONS[type(strategy)](strategy, state)
