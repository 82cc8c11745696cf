"""Which experiments run and which wait for their turn: each envoy takes part in one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from superb_node.director.experiment_runner import ExperimentRunner

MAX_NAMED = 3
"""Experiments that are named to those who wait behind them."""


class ExperimentQueue:
    """Experiments in the order of submission.

    The next one to run is the first whose envoys take part in none that runs, and are chosen by none that was
    submitted before it: it overtakes those only that it does not make wait.

    Corrects: OpenFL's own runs one experiment at a time, whoever takes part, and looks for the next one every
    ten seconds.

    Args:
        at_once: how many may run at the same time.
    """

    def __init__(self, at_once: int = 1) -> None:
        self._at_once = at_once
        self._experiments: dict[str, ExperimentRunner] = {}
        self._running: set[str] = set()
        self._changed = asyncio.Event()

    @property
    def running(self) -> list[ExperimentRunner]:
        """What runs, in the order of submission."""
        return [each for name, each in self._experiments.items() if name in self._running]

    @property
    def waiting(self) -> list[ExperimentRunner]:
        """What waits for its turn, in the order of submission."""
        return [each for name, each in self._experiments.items() if name not in self._running]

    def get(self, name: str) -> ExperimentRunner | None:
        """Return an experiment that runs or waits, or None."""
        return self._experiments.get(name)

    def add(self, experiment: ExperimentRunner) -> None:
        """Let an experiment wait for its turn, behind all others."""
        self._experiments[experiment.name] = experiment
        self._changed.set()

    def remove(self, name: str) -> None:
        """Forget an experiment, which may let others run."""
        self._experiments.pop(name, None)
        self._running.discard(name)
        self._changed.set()

    @asynccontextmanager
    async def next_experiment(self) -> AsyncIterator[ExperimentRunner]:
        """Wait for an experiment whose turn it is; it runs inside the context, and is forgotten after it."""
        while (experiment := self._next()) is None:
            self._changed.clear()
            await self._changed.wait()
        self._running.add(experiment.name)
        try:
            yield experiment
        finally:
            self.remove(experiment.name)

    def _next(self) -> ExperimentRunner | None:
        taken = {envoy for each in self.running for envoy in each.collaborators}
        for each in self.waiting:
            if taken.isdisjoint(each.collaborators):
                return each
            taken.update(each.collaborators)
        return None

    def waits_behind(self, name: str) -> str:
        """Return in words behind which experiments one waits; empty if it does not."""
        ahead = self._ahead_of(name)
        told = [
            each.described_to(self._experiments[name].sender, each.name in self._running)
            for each in ahead[:MAX_NAMED]
        ]
        if len(ahead) > MAX_NAMED:
            told.append(f"{len(ahead) - MAX_NAMED} more")
        return " and ".join([", ".join(told[:-1]), told[-1]] if len(told) > 1 else told)

    def _ahead_of(self, name: str) -> list[ExperimentRunner]:
        """Return what has to end, or to begin, before an experiment begins; what runs comes first."""
        own = self._experiments.get(name)
        if own is None or name in self._running:
            return []
        waiting = self.waiting
        before = waiting[: waiting.index(own)]
        alone, full = self._at_once == 1, len(self._running) >= self._at_once

        def shares(other: ExperimentRunner) -> bool:
            return not set(own.collaborators).isdisjoint(other.collaborators)

        return [
            *(each for each in self.running if full or shares(each)),
            *(each for each in before if alone or shares(each)),
        ]
