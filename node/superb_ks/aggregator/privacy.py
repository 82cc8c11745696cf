"""Differential privacy of an experiment: which rounds have it, and how much of it is spent.

What is promised, to whom, and what is not covered: see docs/privacy.md. The account is kept for each
collaborator: a round costs those who were drawn for it, whether their update arrived or not. Who is drawn
follows from the experiment's seed, which every node knows, so no amplification by sampling is claimed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from superb_ks.aggregator.checkpoint import ExperimentState
from superb_ks.aggregator.strategies.private_average import PrivateAverage
from superb_ks.aggregator.strategies.updates import Recycle
from superb_ks.metrics import Metrics
from superb_ks.settings import Privacy


class PrivateRounds:
    """The rounds of an experiment with differential privacy, and their account in its state.

    Args:
        state: the experiment's, on disk.
        privacy: the experiment's.
    """

    def __init__(self, state: ExperimentState, privacy: Privacy) -> None:
        # Loaded before the first round rather than at its end.
        from dp_accounting import get_epsilon_gaussian

        self._epsilon_gaussian = get_epsilon_gaussian
        self._state = state
        self._privacy = privacy
        begun = {**privacy.to_dict(), "drawn": {}}
        self._account: dict[str, Any] = state.manifest.setdefault("privacy", begun)
        self._updates: PrivateAverage | None = None

    def collect(self, names: Iterable[str], size: int, recycle: Recycle) -> PrivateAverage:
        """Return what takes in the updates of `names`, float32 `[size]` each, in one round."""
        self._updates = PrivateAverage(
            names,
            size,
            recycle,
            start=self._state.last,
            clip_norm=self._privacy.clip_norm,
            noise_multiplier=self._privacy.noise_multiplier,
        )
        return self._updates

    def spend(self, drawn: Iterable[str]) -> Metrics:
        """Enter a round into the account, which counts from the next publication; returns what it came to.

        Args:
            drawn: who was asked to train in the round.
        """
        rounds = self._account["drawn"]
        for name in drawn:
            rounds[name] = rounds.get(name, 0) + 1
        clipped = self._updates.clipped if self._updates else 0
        return {"epsilon": np.asarray(self.epsilon), "clipped": np.asarray(float(clipped))}

    @property
    def epsilon(self) -> float:
        """What is spent so far, of the collaborator that was drawn most often; 0 before the first round."""
        most = max(self._account["drawn"].values(), default=0)
        if most == 0:
            return 0.0
        # Gaussian mechanisms compose exactly (Dong et al., "Gaussian Differential Privacy", 2022, corollary
        # 3.3): k of them are one with sqrt(k) times less noise. The library has the exact curve of one.
        sigma = self._privacy.noise_multiplier / math.sqrt(most)
        return float(self._epsilon_gaussian(sigma, self._privacy.delta))


def private_rounds(state: ExperimentState, privacy: Privacy | None) -> PrivateRounds | None:
    """Return what makes an experiment's rounds private; None where `privacy` is None.

    Raises:
        ValueError: an experiment is resumed with other parameters than it was begun with, so that no account
            of it would be true.
    """
    kept = state.manifest.get("privacy")
    begun = kept and {name: value for name, value in kept.items() if name != "drawn"}
    wanted = privacy and privacy.to_dict()
    untouched = state.manifest["round"] == 0
    if begun != wanted and not (untouched and kept is None):
        raise ValueError(
            f"the experiment was begun with differential privacy {begun or 'off'}, and cannot go on with "
            f"{wanted or 'off'}: its epsilon would not be true"
        )
    return PrivateRounds(state, privacy) if privacy else None
