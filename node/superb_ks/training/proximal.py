"""FedProx on the client: what holds a round of local training near the weights that it started from."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn


class ProximalTerm:
    """The gradient of mu/2 · ||w - w_t||², where w_t are the weights that the round began with.

    Li et al., 2020, "Federated Optimization in Heterogeneous Networks", equation 2. The term is a part of
    what a collaborator minimises, so its gradient mu · (w - w_t) belongs to the loss's before clipping and
    before the optimizer sees them. It costs one more copy of the trainable weights.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], mu: float) -> None:
        """Keep a copy of the weights as they are now.

        Args:
            parameters: the trainable ones; those without `requires_grad` are passed over.
            mu: the strength, above 0.
        """
        self.mu = mu
        self._pairs = [(p, p.detach().clone()) for p in parameters if p.requires_grad]

    @torch.no_grad()
    def add_gradient(self) -> None:
        """Add the term's gradient to the loss's.

        A weight that the loss has not touched has no gradient, and the optimizer leaves it where it is.
        """
        for parameter, start in self._pairs:
            if parameter.grad is not None:
                parameter.grad.add_(parameter - start, alpha=self.mu)
