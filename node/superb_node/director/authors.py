"""What authors may do with their experiments: follow, list, stop and remove their own, and no others'."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

from superb_node.director import experiment_store as store
from superb_node.director.experiment_queue import ExperimentQueue
from superb_node.director.experiment_runner import POLL_SECONDS
from superb_node.director.experiment_store import ExperimentStore, Refused
from superb_node.director.pending_approvals import PendingApprovals
from superb_node.reports import QUEUED

logger = logging.getLogger("director")


class Authors:
    """Every call names its caller.

    Args:
        experiments: all of the director's, on disk.
        queue: those that run or wait for their turn.
        pending_approvals: those that wait for the director's owner.
    """

    def __init__(
        self, experiments: ExperimentStore, queue: ExperimentQueue, pending_approvals: PendingApprovals
    ) -> None:
        self._experiments, self._queue, self._pending_approvals = experiments, queue, pending_approvals

    def manifest(self, name: str, caller: str) -> dict[str, Any]:
        """Return the manifest of an experiment of `caller`.

        Raises:
            Refused: there is none, or it is somebody else's.
        """
        manifest = self._experiments.manifest(name)
        if manifest["owner"] != caller:
            logger.warning("Refused user %r: experiment %r belongs to %r", caller, name, manifest["owner"])
            raise Refused(f"experiment {name!r} is not {caller}'s")
        return manifest

    async def follow(self, name: str, caller: str) -> AsyncIterator[dict[str, Any]]:
        """Yield every record of the experiment from the first on, until it has ended.

        Besides, and only to those who watch meanwhile: that it waits for approval, and behind which others it
        waits for its turn, anew whenever that changes.
        """
        sent, notified, told = 0, False, ""
        self.manifest(name, caller)
        while True:
            behind = self._queue.waits_behind(name)
            if behind != told:
                told = behind
                yield self._experiments.own_record(name, QUEUED, behind)
            # The status comes first: nothing is recorded after the end. It is read from the disk only if the
            # experiment is not at hand: every viewer asks many times a second.
            active = self._queue.get(name)
            running = active is not None or self._experiments.manifest(name)["status"] in (
                store.PENDING,
                store.RUNNING,
            )
            aggregator = active.aggregator if active is not None else None
            if aggregator is not None:
                records = aggregator.records
            else:
                records = [] if running else self._experiments.records(name)
                notice = self._pending_approvals.notice(name)
                if notice is not None and not notified:
                    notified = True
                    yield notice
            news = records[sent:]  # a copy: the aggregator adds to the list while these are on their way
            for record in news:
                yield record
            sent += len(news)
            if not running:
                return
            await asyncio.sleep(2 * POLL_SECONDS)

    def list_of(self, caller: str) -> list[dict[str, Any]]:
        """List the experiments of `caller`."""
        manifests = [self._experiments.manifest(name) for name in self._experiments.names()]
        return [
            {
                "name": manifest["experiment"],
                "status": manifest["status"],
                "collaborators_amount": len(manifest["collaborators"]),
            }
            for manifest in manifests
            if manifest["owner"] == caller
        ]

    def remove(self, name: str, caller: str) -> None:
        """Delete an experiment that has ended.

        Raises:
            Refused: it is somebody else's, unknown, or still running.
        """
        status = self.manifest(name, caller)["status"]
        if status in (store.PENDING, store.RUNNING):
            raise Refused(f"experiment {name!r} is {status}; stop it first")
        self._experiments.remove(name)

    def stop(self, name: str, caller: str) -> None:
        """End an experiment of `caller` early; no effect if it has ended."""
        self.manifest(name, caller)
        if self._pending_approvals.cancel(name):
            self._experiments.update(name, status=store.STOPPED)
        elif experiment := self._queue.get(name):
            if experiment in self._queue.running:
                experiment.stop(caller, "stopped")
            else:
                self._queue.remove(name)
                self._experiments.update(name, status=store.STOPPED)
