"""From a strategy's settings to what it does; the list of strategies is in `superb_ks.strategy_settings`."""

from __future__ import annotations

from importlib import import_module

from superb_ks.aggregator.checkpoint import ExperimentState
from superb_ks.aggregator.strategies.updates import Aggregation
from superb_ks.strategy_settings import Strategy


def implementation(kind: type[Strategy]) -> type[Aggregation]:
    """Import what does the work of a strategy, by the module and the class that it names."""
    module, _, name = kind.implementation.rpartition(".")
    found: type[Aggregation] = getattr(import_module(f"{__package__}.{module}"), name)
    return found


def make_aggregation(strategy: Strategy, state: ExperimentState) -> Aggregation:
    """Return a strategy at work in an experiment.

    Args:
        strategy: with its parameters.
        state: the experiment's, on disk.
    """
    if state.manifest.get("moments") and state.moments(strategy.name) is None:
        # An experiment that is resumed with another strategy does not keep the old one's moments.
        state.mark_moments(strategy.name, None)
    return implementation(type(strategy))(strategy, state)
