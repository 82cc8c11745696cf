"""Every strategy by its name: how the updates of one round become the model of the next.

In the formulas, `w_k` are the weights that collaborator `k` arrived at in the round, `n_k` the clips it
trained on, `n` their sum, and `x` the weights that the round started from. What each strategy's
parameters are called in the settings, and their defaults, is in `STRATEGIES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from openfl.interface.aggregation_functions import Median as OpenFLMedian

from superb_ks.aggregator.checkpoint import ExperimentState
from superb_ks.aggregator.strategies.fedavg import FederatedAverage, Updates
from superb_ks.aggregator.strategies.fedopt import ServerOptimizer, fedadam, fedyogi
from superb_ks.aggregator.strategies.robust import StoredUpdates, TrimmedMean
from superb_ks.types import Vector

Recycle = Callable[[Vector], None]


class FedAvg:
    """Federated averaging: `x = sum_k (n_k / n) w_k`.

    McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data", 2017. In
    memory: the sum and one update.

    Args:
        state: the experiment's, on disk.
    """

    def __init__(self, state: ExperimentState) -> None:
        self.state = state

    def collect(self, names: Iterable[str], size: int, recycle: Recycle) -> Updates:
        """Return what takes in the updates of `names`, float32 `[size]` each, in one round."""
        return FederatedAverage(names, size, recycle)

    def next_model(self, combined: Vector, next_round: int) -> Vector:
        """Return the model that `next_round` starts from; `combined` is taken over."""
        return combined


class FedProx(FedAvg):
    """FedAvg of collaborators that stay near `x`: each minimises `loss + mu / 2 * |w - x|**2`.

    Li et al., "Federated Optimization in Heterogeneous Networks", 2020. The term is the training task's; the
    director averages as ever.
    """

    def __init__(self, state: ExperimentState, proximal_mu: float = 0.0) -> None:
        super().__init__(state)


class _Adaptive(FedAvg):
    """FedAvg, then a step of `superb_ks.aggregator.strategies.fedopt` along the average change."""

    name: str
    make_optimizer: Callable[[float, float, float, float], ServerOptimizer]

    def __init__(
        self,
        state: ExperimentState,
        server_learning_rate: float,
        server_beta1: float,
        server_beta2: float,
        server_tau: float,
    ) -> None:
        super().__init__(state)
        self._optimizer = self.make_optimizer(server_learning_rate, server_beta1, server_beta2, server_tau)

    def next_model(self, combined: Vector, next_round: int) -> Vector:
        """Step from the round's start; the moments count from the moment that the model is published."""
        moments = self.state.folder / f"round-{next_round}.moments.safetensors"
        model = self._optimizer.step(combined, self.state.last, self.state.moments(self.name), moments)
        self.state.mark_moments(self.name, moments)
        return model


class FedAdam(_Adaptive):
    """`x = x + learning_rate * m / (sqrt(v) + tau)`: `m` and `v` average the changes and their squares.

    Reddi et al., "Adaptive Federated Optimization", 2021, algorithm 2. In memory: as FedAvg; on disk: the
    moments, twice the model's bytes.
    """

    name = "fedadam"
    make_optimizer = staticmethod(fedadam)


class FedYogi(_Adaptive):
    """FedAdam with a `v` that shrinks slowly: after a large change, steps stay small for longer.

    Reddi et al., 2021, algorithm 2. In memory and on disk: as FedAdam.
    """

    name = "fedyogi"
    make_optimizer = staticmethod(fedyogi)


class Median(FedAvg):
    """`x[i]` is the median of all `w_k[i]`, every collaborator counting the same.

    Yin et al., "Byzantine-Robust Distributed Learning", 2018, definition 1. In memory: one vector for the
    result and one update; on disk: all updates of the round.
    """

    def collect(self, names: Iterable[str], size: int, recycle: Recycle) -> Updates:
        """Return what keeps the updates of `names`, float32 `[size]` each, until all are there."""
        return StoredUpdates(names, size, recycle, folder=self.state.updates_folder, combine=OpenFLMedian())


class Trimmed(FedAvg):
    """`x[i]` is the mean of the `w_k[i]` without the smallest and the largest of them.

    Yin et al., 2018, definition 2; how many go: `TrimmedMean`. In memory and on disk:
    as the median.
    """

    def __init__(self, state: ExperimentState, trim_fraction: float) -> None:
        super().__init__(state)
        self._combine = TrimmedMean(trim_fraction)

    def collect(self, names: Iterable[str], size: int, recycle: Recycle) -> Updates:
        """Return what keeps the updates of `names`, float32 `[size]` each, until all are there."""
        return StoredUpdates(names, size, recycle, folder=self.state.updates_folder, combine=self._combine)


STRATEGIES: dict[str, type[FedAvg]] = {
    "fedavg": FedAvg,
    "fedprox": FedProx,
    "fedadam": FedAdam,
    "fedyogi": FedYogi,
    "median": Median,
    "trimmed_mean": Trimmed,
}


def make_strategy(name: str, state: ExperimentState, parameters: Mapping[str, float]) -> FedAvg:
    """Return the strategy of a name, with the parameters that it has in the settings.

    Raises:
        ValueError: there is no such strategy.
    """
    if name not in STRATEGIES:
        raise ValueError(f"strategy is {name!r}; legal: {', '.join(STRATEGIES)}")
    if state.manifest.get("moments") and state.moments(name) is None:
        # An experiment that was resumed with another strategy does not drag the old one's moments along.
        state.mark_moments(name, None)
    return STRATEGIES[name](state, **parameters)
