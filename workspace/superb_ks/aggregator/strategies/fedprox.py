"""FedProx: FedAvg of collaborators that stay near the round's start.

Li et al., "Federated Optimization in Heterogeneous Networks", 2020. Each collaborator minimises
`loss + mu / 2 * |w - x|**2`. That term is in `superb_ks.training.proximal`; the director averages as in
FedAvg.
"""

from __future__ import annotations

from superb_ks.aggregator.strategies.fedavg import FedAvgAggregation


class FedProxAggregation(FedAvgAggregation):
    """The mean of the updates, weighted by clips."""
