"""The director: knows the envoys, queues experiments, and tells each envoy and author what is theirs.

OpenFL's own class, with what it does wrong corrected; nothing of OpenFL is copied. `service.py` serves it
over gRPC.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any

from openfl.component.director import Director as OpenFLDirector

from superb_node import local_socket
from superb_node.approval.gate import Gate
from superb_node.approval.settings import GateSettings
from superb_node.director import experiment_store as store
from superb_node.director.authorization import AccessRules
from superb_node.director.envoy_names import EnvoyNames
from superb_node.director.experiment_runner import POLL_SECONDS, ExperimentQueue, ExperimentRunner
from superb_node.director.experiment_store import ExperimentStore, Refused
from superb_node.director.pending_approvals import PendingApprovals
from superb_node.shard_card import read_card, training_clips
from superb_node.text import quoted

logger = logging.getLogger("director")

MAX_MISSED_SIGNS = 3
"""An envoy that misses this many heartbeats in a row is taken for dead."""
LOOK_AGAIN_SECONDS = 1.0
"""An envoy that waits for an experiment finds one after so long at the latest."""


class Director(OpenFLDirector):
    """Corrects: failed envoys that are invited again and again, an experiment that waits for ever for a
    dead one, metrics that only the first viewer sees, streams that hang when an aggregator cannot start,
    and experiments that are lost when the director restarts.
    """

    def __init__(
        self,
        *,
        experiments_folder: Path,
        envoys: Collection[str] | None = None,
        gate: Gate | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self.access_rules = AccessRules(envoys)
        self.experiments = ExperimentStore(experiments_folder)
        self.gate = gate or Gate(GateSettings(), "the director's owner", experiments_folder / ".approval")
        self.pending_approvals = PendingApprovals(self.gate, self.experiments)
        self.listen_host = local_socket.HOST
        self.experiments_registry = ExperimentQueue()
        self.envoy_names = EnvoyNames(
            self._shard_registry, self.access_rules, MAX_MISSED_SIGNS * self.envoy_health_check_period
        )
        # Corrects: the list of envoys raises KeyError for one that has not asked for an experiment yet.
        self.col_exp: defaultdict[str, str | None] = defaultdict(lambda: None)

    def submit(self, name: str, sender: str, collaborators: list[str], text: bytes, port: int) -> None:
        """Queue an experiment whose initial state is in the store."""
        self.experiments_registry.add(
            ExperimentRunner(
                experiments=self.experiments,
                listen_host=self.listen_host,
                invite=lambda envoy_name: self.col_exp_queues[envoy_name].put_nowait(name),
                clip_limits=self._training_clips(collaborators),
                name=name,
                text=text,
                aggregator_port=port,
                collaborators=collaborators,
                users=[sender],
                sender=sender,
            )
        )

    def _training_clips(self, collaborators: list[str]) -> dict[str, int]:
        """Return how many training clips the shard card of each registered envoy counts."""
        shards = {name: self._shard_registry[name] for name in collaborators if name in self._shard_registry}
        return {
            name: training_clips(read_card(shard["shard_info"]["shard_description"]))
            for name, shard in shards.items()
        }

    def own_manifest(self, name: str, caller: str) -> dict[str, Any]:
        """Return the manifest of an experiment of `caller`.

        Raises:
            Refused: there is none, or it is somebody else's.
        """
        manifest = self.experiments.manifest(name)
        if manifest["owner"] != caller:
            logger.warning("Refused user %r: experiment %r belongs to %r", caller, name, manifest["owner"])
            raise Refused(f"experiment {name!r} is not {caller}'s")
        return manifest

    def experiment_for(self, name: str, envoy_name: str) -> ExperimentRunner:
        """Return an experiment that runs or waits its turn, and in which `envoy_name` takes part.

        Corrects: OpenFL gives an experiment to everybody who knows its name.

        Raises:
            Refused: there is no such experiment, or the envoy has no part in it.
        """
        experiment = self.experiments_registry.get(name)
        if experiment is None or envoy_name not in experiment.collaborators:
            who, what = quoted(envoy_name), quoted(name)
            logger.warning("Refused envoy %s the tasks of experiment %s", who, what)
            raise Refused(f"experiment {what} is over, or envoy {who} is not enrolled in it")
        return experiment

    async def start_experiment_execution_loop(self) -> None:
        """Run submitted experiments, one after another; envoys are invited when the aggregator listens."""
        while True:
            async with self.experiments_registry.get_next_experiment() as experiment:
                watch = asyncio.create_task(self._watch_envoys(experiment))
                try:
                    await experiment.start(
                        root_certificate=self.root_certificate,
                        certificate=self.certificate,
                        private_key=self.private_key,
                        tls=self.tls,
                    )
                finally:
                    watch.cancel()

    async def _watch_envoys(self, experiment: ExperimentRunner) -> None:
        """Let the experiment go on without envoys that send no heartbeat."""
        while True:
            await asyncio.sleep(1)
            aggregator = experiment.aggregator
            for envoy_name in experiment.collaborators:
                if (
                    aggregator is not None
                    and self.envoy_names.is_silent(envoy_name)
                    and experiment.wants(envoy_name)
                ):
                    seconds = self.envoy_names.seconds_of_silence(envoy_name)
                    aggregator.drop(envoy_name, f"no heartbeat for {seconds:.0f} s")

    async def wait_experiment(self, envoy_name: str) -> str:
        """Return the name of an experiment that has work for `envoy_name`, as soon as there is one."""
        while True:
            active = self.experiments_registry.active_experiment
            if active is not None and active.wants(envoy_name):
                self.col_exp[envoy_name] = active.name
                return active.name
            # Corrects: an invitation is handed out once, so that a call whose link is cut, and which nobody
            # has given up yet, takes it away from the one by which the envoy asks again.
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.col_exp_queues[envoy_name].get(), LOOK_AGAIN_SECONDS)

    def still_wants(self, name: str, envoy_name: str) -> bool:
        """Return whether an experiment has work for `envoy_name`, which takes part in it."""
        active = self.experiments_registry.active_experiment
        return active is not None and active.name == name and active.still_wants(envoy_name)

    async def get_experiment_status(self, experiment_name: str, caller: str) -> str:
        """Return one of the statuses in `experiment_store`."""
        return self.own_manifest(experiment_name, caller)["status"]

    async def stream_metrics(self, experiment_name: str, caller: str) -> AsyncIterator[dict[str, Any]]:
        """Yield every record of the experiment from the first on, until it has ended."""
        sent, notified = 0, False
        self.own_manifest(experiment_name, caller)
        while True:
            # The status comes first: nothing is recorded after the end. It is read from the disk only if the
            # experiment is not at hand: every viewer asks many times a second.
            active = self.experiments_registry.get(experiment_name)
            running = active is not None or self.experiments.manifest(experiment_name)["status"] in (
                store.PENDING,
                store.RUNNING,
            )
            aggregator = active.aggregator if active is not None else None
            if aggregator is not None:
                records = aggregator.records
            else:
                records = [] if running else self.experiments.records(experiment_name)
                notice = self.pending_approvals.notice(experiment_name)
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

    def set_experiment_failed(
        self,
        *,
        experiment_name: str,
        collaborator_name: str,
        reason: str = "failed",
        left: bool = False,
        declined: bool = False,
    ) -> None:
        """Note that a task failed on `collaborator_name`, or that its owner stopped it (`left`), or does
        not let the experiment run there (`declined`): then it is not asked again.
        """
        experiment = self.experiments_registry.get(experiment_name)
        if experiment is None or experiment.aggregator is None:
            return
        if collaborator_name not in experiment.collaborators:
            return
        if declined:
            experiment.declined_by.add(collaborator_name)
            experiment.aggregator.drop(collaborator_name, reason, for_good=True)
        elif left:
            experiment.aggregator.drop(collaborator_name, reason)
        else:
            experiment.aggregator.task_failed(collaborator_name, reason)

    def record_waiting(self, experiment_name: str, collaborator_name: str, text: str) -> None:
        """Record that the experiment waits for its approval by the owner of `collaborator_name`."""
        experiment = self.experiments_registry.get(experiment_name)
        if experiment is not None and experiment.wants(collaborator_name):
            experiment.aggregator.record_waiting(collaborator_name, text)

    def get_experiments_list(self, caller: str) -> list[dict[str, Any]]:
        """List the experiments of `caller`. Corrects: OpenFL's own raises AttributeError."""
        manifests = [self.experiments.manifest(name) for name in self.experiments.names()]
        return [
            {
                "name": manifest["experiment"],
                "status": manifest["status"],
                "collaborators_amount": len(manifest["collaborators"]),
            }
            for manifest in manifests
            if manifest["owner"] == caller
        ]

    def remove_experiment_data(self, experiment_name: str, caller: str) -> None:
        """Delete an experiment that has ended.

        Raises:
            Refused: it is somebody else's, unknown, or still running.
        """
        status = self.own_manifest(experiment_name, caller)["status"]
        if status in (store.PENDING, store.RUNNING):
            raise Refused(f"experiment {experiment_name!r} is {status}; stop it first")
        self.experiments.remove(experiment_name)

    def stop_experiment(self, name: str, caller: str) -> None:
        """End an experiment of `caller` early; no effect if it has ended."""
        self.own_manifest(name, caller)
        if self.pending_approvals.cancel(name):
            self.experiments.update(name, status=store.STOPPED)
        elif name in self.experiments_registry.pending_experiments:
            self.experiments_registry.remove(name)
            self.experiments.update(name, status=store.STOPPED)
        elif name in self.experiments_registry:
            self.experiments_registry[name].stop(caller, "stopped")

    def stop_running(self, reason: str) -> None:
        """Tell the envoys of the running experiment to stop."""
        experiment = self.experiments_registry.active_experiment
        if experiment is not None:
            experiment.stop("director", reason)
