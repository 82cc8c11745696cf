"""The strategies: how the updates of one round become the next model, each with its parameters.

Settings, tables, plots and the demo read this list. To add a strategy, add a class here, and in
`superb_ks.aggregator.strategies` a file that does the work and its line in `registry.py`. Imports nothing but
the standard library.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from superb_ks.checked import ABOVE_0, BELOW_HALF, FROM_0, SHARE, Checked, checked, from_name


@dataclass(frozen=True, kw_only=True)
class Strategy(Checked):
    """What all strategies have.

    Attributes:
        name: by which `make demo STRATEGY=...` and the records know it.
        summary: what it does, for the notebook's table.
        averages: the next model follows from the average of the updates, so that each update can move it by a
            bounded amount, as differential privacy needs.
    """

    summary: ClassVar[str]
    averages: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class FedAvg(Strategy):
    """Federated averaging (McMahan et al., 2017)."""

    name = "fedavg"
    summary = "mean of the updates, weighted by clips"


@dataclass(frozen=True, kw_only=True)
class FedProx(Strategy):
    """FedAvg of models that stay near the round's start (Li et al., 2020).

    Attributes:
        mu: weight of the term that keeps training near the round's start; 0 is FedAvg. The default was not
            tuned. `RoundTrainer` adds the term; a task with a training loop of its own has to use
            `superb_ks.training.proximal` itself.
    """

    name = "fedprox"
    summary = "like fedavg; each envoy is held near the round's start"

    mu: float = checked(FROM_0, 0.01)


@dataclass(frozen=True, kw_only=True)
class Adaptive(Strategy):
    """A step of an optimizer on the director (Reddi et al., 2021).

    `beta2` and `tau` are the paper's. Its `beta1`, 0.9, remembers about ten rounds: the last steps of a short
    experiment would still go in old directions. The rate and `beta1` were chosen at 12 rounds of one epoch,
    on validation clips (docs/results.md, "What was tried").

    Attributes:
        learning_rate: of the director's optimizer.
        beta1: share of the first moment (of the changes) that a round keeps.
        beta2: the same of the second moment (of their squares).
        tau: about the change of a weight below which steps follow its size.
    """

    learning_rate: float = checked(ABOVE_0, 0.002)
    beta1: float = checked(SHARE, 0.5)
    beta2: float = checked(SHARE, 0.99)
    tau: float = checked(ABOVE_0, 1e-3)


@dataclass(frozen=True, kw_only=True)
class FedAdam(Adaptive):
    """Adam on the director."""

    name = "fedadam"
    summary = "a step of Adam along the mean change"


@dataclass(frozen=True, kw_only=True)
class FedYogi(Adaptive):
    """Yogi on the director."""

    name = "fedyogi"
    summary = "the same, with steps that stay small for longer after a large change"


@dataclass(frozen=True, kw_only=True)
class FedMedian(Strategy):
    """The coordinate-wise median (Yin et al., 2018)."""

    name = "median"
    summary = "the median of each weight; every envoy counts the same"
    averages = False


@dataclass(frozen=True, kw_only=True)
class TrimmedMean(Strategy):
    """The coordinate-wise trimmed mean (Yin et al., 2018).

    Attributes:
        fraction: share of the values that is left out at each end.
    """

    name = "trimmed_mean"
    summary = "the mean of each weight, without the largest and the smallest values"
    averages = False

    fraction: float = checked(BELOW_HALF, 0.2)


STRATEGIES: dict[str, type[Strategy]] = {
    kind.name: kind for kind in (FedAvg, FedProx, FedAdam, FedYogi, FedMedian, TrimmedMean)
}
"""All strategies by name."""


def strategy_named(name: str) -> Strategy:
    """Return a strategy with its default parameters.

    Raises:
        ValueError: there is none of that name.
    """
    return from_name(STRATEGIES, {"name": name}, "strategy")
