"""The director: knows the envoys, queues and runs experiments, and tells each envoy what is its own.

OpenFL's own class, with what it does wrong corrected; nothing of OpenFL is copied. `service.py` serves it
over gRPC, and `authors.py` is what authors may do.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Sequence
from pathlib import Path
from typing import Any

from openfl.component.director import Director as OpenFLDirector

from superb_node import local_socket
from superb_node.approval.gate import Gate
from superb_node.director.authorization import AccessRules
from superb_node.director.authors import Authors
from superb_node.director.envoy_names import EnvoyNames
from superb_node.director.experiment_queue import ExperimentQueue
from superb_node.director.experiment_runner import ExperimentRunner
from superb_node.director.experiment_store import ExperimentStore, Refused
from superb_node.director.pending_approvals import PendingApprovals
from superb_node.shard_card import clips_by_split, read_card
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

    Args:
        experiments_folder: where everything of the experiments is kept.
        gate: of the director's owner.
        envoys: names of those that may take part; None: all.
        aggregator_ports: of the experiments that run at the same time, one for each; none: one experiment
            runs at a time, on the port that its author names.
        settings: of OpenFL's director.
    """

    def __init__(
        self,
        *,
        experiments_folder: Path,
        gate: Gate,
        envoys: Collection[str] | None = None,
        aggregator_ports: Sequence[int] = (),
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self.access_rules = AccessRules(envoys)
        self.experiments = ExperimentStore(experiments_folder)
        self.gate = gate
        self.pending_approvals = PendingApprovals(self.gate, self.experiments)
        self.listen_host = local_socket.HOST
        self._ports: Sequence[int | None] = aggregator_ports or (None,)
        self.experiments_registry = ExperimentQueue(len(self._ports))
        self.authors = Authors(self.experiments, self.experiments_registry, self.pending_approvals)
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
                clip_limits=self._clips(collaborators),
                name=name,
                text=text,
                aggregator_port=port,
                collaborators=collaborators,
                users=[sender],
                sender=sender,
            )
        )

    def _clips(self, collaborators: list[str]) -> dict[str, dict[str, int]]:
        """Return how many clips of each split the shard card of each registered envoy counts."""
        shards = {name: self._shard_registry[name] for name in collaborators if name in self._shard_registry}
        return {
            name: clips_by_split(read_card(shard["shard_info"]["shard_description"]))
            for name, shard in shards.items()
        }

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
        """Run submitted experiments, as many at a time as there are ports for aggregators."""
        await asyncio.gather(*map(self._run_experiments, self._ports))

    async def _run_experiments(self, port: int | None) -> None:
        """Run one experiment after another on a port; envoys are invited when the aggregator listens."""
        while True:
            async with self.experiments_registry.next_experiment() as experiment:
                if port is not None:
                    experiment.aggregator_port = port
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
                if aggregator is None or not experiment.wants(envoy_name):
                    continue
                # Over a link that was mended, its experiment may be heard of before its next heartbeat.
                seconds = min(
                    self.envoy_names.seconds_of_silence(envoy_name),
                    aggregator.members.seconds_since_heard(envoy_name),
                )
                if seconds > self.envoy_names.silence_seconds:
                    aggregator.drop(envoy_name, f"no heartbeat for {seconds:.0f} s")

    async def wait_experiment(self, envoy_name: str) -> str:
        """Return the name of an experiment that has work for `envoy_name`, as soon as there is one."""
        while True:
            for experiment in self.experiments_registry.running:
                if experiment.wants(envoy_name):
                    self.col_exp[envoy_name] = experiment.name
                    experiment.invited(envoy_name)
                    return experiment.name
            # Corrects: an invitation is handed out once, so that a call whose link is cut, and which nobody
            # has given up yet, takes it away from the one by which the envoy asks again.
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.col_exp_queues[envoy_name].get(), LOOK_AGAIN_SECONDS)

    def is_current(self, name: str, experiment_id: str) -> bool:
        """Return whether a submission runs or waits its turn: an experiment that is resumed has another id.

        Who did not receive its experiment knows no id; then the name decides.
        """
        experiment = self.experiments_registry.get(name)
        return experiment is not None and experiment_id in ("", experiment.id)

    def still_wants(self, name: str, experiment_id: str, envoy_name: str) -> bool:
        """Return whether `envoy_name`, which takes part in an experiment, is to go on with what it does."""
        experiment = self.experiments_registry.get(name)
        if experiment is None or experiment.id != experiment_id:
            return False
        return experiment.still_wants(envoy_name)

    def set_experiment_failed(
        self,
        *,
        experiment_name: str,
        collaborator_name: str,
        reason: str,
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
        if experiment is None or experiment.aggregator is None or not experiment.wants(collaborator_name):
            return
        experiment.aggregator.record_waiting(collaborator_name, text)

    async def get_experiment_status(self, experiment_name: str, caller: str) -> str:
        """Return one of the statuses in `experiment_store`."""
        return self.authors.manifest(experiment_name, caller)["status"]

    def stream_metrics(self, experiment_name: str, caller: str) -> AsyncIterator[dict[str, Any]]:
        """Yield every record of the experiment from the first on, until it has ended."""
        return self.authors.follow(experiment_name, caller)

    def get_experiments_list(self, caller: str) -> list[dict[str, Any]]:
        """List the experiments of `caller`. Corrects: OpenFL's own raises AttributeError."""
        return self.authors.list_of(caller)

    def remove_experiment_data(self, experiment_name: str, caller: str) -> None:
        """Delete an experiment that has ended."""
        self.authors.remove(experiment_name, caller)

    def stop_running(self, reason: str) -> None:
        """Tell the envoys of the running experiments to stop."""
        for experiment in self.experiments_registry.running:
            experiment.stop("director", reason)
