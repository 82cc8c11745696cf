"""Differential privacy by Flower: its wrapper clips and adds the noise, its accountant counts.

Two things differ from the director's (docs/privacy.md). Flower draws its noise from NumPy's generator, whose
state can be reconstructed from what it has drawn. Its account lets every client take part in every round, so
that with a small `fraction` its epsilon is higher.
"""

from __future__ import annotations

from collections.abc import Iterable

from flwr.app import Message, MetricRecord
from flwr.serverapp import NeighboringRelation, PrivacyConfig, RdpAccountant, SamplingMethod
from flwr.serverapp import strategy as flwr_strategy

from superb_flower import messages
from superb_ks.metrics import CLIPS
from superb_ks.settings import Privacy


def private_strategy(privacy: Privacy, drawn: int, clients: int) -> flwr_strategy.Strategy:
    """Return federated averaging with differential privacy for each client; every client counts the same.

    Args:
        privacy: clipping norm, noise, and the delta that epsilon is told for.
        drawn: how many clients train in a round.
        clients: how many there are.
    """
    accountant = RdpAccountant(
        PrivacyConfig(
            target_delta=privacy.delta,
            population_size=clients,
            neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
            sampling_method=SamplingMethod.NO_AMPLIFICATION,
        )
    )
    average = flwr_strategy.FedAvg(
        weighted_by_key=CLIPS, min_train_nodes=1, min_available_nodes=1, min_evaluate_nodes=1
    )
    return flwr_strategy.DifferentialPrivacyServerSideFixedClipping(
        average, privacy.noise_multiplier, privacy.clip_norm, drawn, accountant=accountant
    )


def counting_the_same(updates: Iterable[Message]) -> list[Message]:
    """Let updates weigh the same, as the account requires."""
    updates = list(updates)
    for update in updates:
        update.content[messages.METRICS] = MetricRecord({CLIPS: 1})
    return updates


def epsilon_of(strategy: flwr_strategy.Strategy) -> float:
    """Return what is spent so far."""
    assert isinstance(strategy, flwr_strategy.DifferentialPrivacyServerSideFixedClipping)
    spent = strategy.privacy_spent()
    return float(spent.epsilon) if spent else 0.0
