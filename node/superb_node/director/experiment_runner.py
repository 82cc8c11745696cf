"""Runs an experiment: its aggregator serves the envoys until the last of them is told to quit.

OpenFL's own class, with what it does wrong corrected; nothing of OpenFL is copied.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from openfl.component.director.experiment import Experiment as OpenFLExperiment
from openfl.component.director.experiment import Status
from openfl.transport import AggregatorGRPCServer

from superb_ks.aggregator.aggregator import Aggregator
from superb_ks.experiment import Experiment
from superb_node.director import experiment_store as store
from superb_node.director.experiment_store import ExperimentStore
from superb_node.director.listening import listening_address
from superb_node.text import quoted

logger = logging.getLogger("director")

POLL_SECONDS = 0.01


class ExperimentRunner(OpenFLExperiment):
    """Corrects: ten seconds of sleep before the end is noticed, a failure that turns into "finished
    successfully", a model that stays in memory after the end, and an aggregator that listens on all
    interfaces.
    """

    def __init__(
        self,
        *,
        experiments: ExperimentStore,
        listen_host: str,
        invite: Callable[[str], None],
        clip_limits: Mapping[str, Mapping[str, int]],
        text: bytes,
        aggregator_port: int,
        **settings: Any,
    ) -> None:
        super().__init__(archive_path="", init_tensor_dict={}, **settings)  # OpenFL's, of pickles
        self.text, self.aggregator_port = text, aggregator_port
        # Equal experiments have different ids: a collaborator that an earlier one left behind (or this one,
        # before it was resumed) is not taken for one of this.
        self.id = uuid.uuid4().hex
        self._clip_limits = clip_limits
        self._experiments = experiments
        self._listen_host = listen_host
        self._invite = invite
        self.aggregator: Aggregator | None = None
        self._stopped = False
        self.declined_by: set[str] = set()  # envoys whose owners do not let it run there

    def described_to(self, author: str, begun: bool) -> str:
        """Return its name and how far it is, for an author whose experiment waits for this one."""
        whose = "" if author == self.sender else f" of {quoted(self.sender)}"
        how_far = "begins" if begun else "waits, too"
        if self.aggregator is not None:
            done, rounds = self.aggregator.progress
            how_far = f"round {min(done + 1, rounds)} of {rounds}"
        return f"experiment {self.name}{whose} ({how_far})"

    @property
    def model_size(self) -> int:
        """How many values the model has; 0 while no aggregator holds it."""
        return self.aggregator.state.last.size if self.aggregator is not None else 0

    def wants(self, envoy_name: str) -> bool:
        """Return whether `envoy_name` has work to do in this experiment."""
        aggregator = self.aggregator
        return (
            aggregator is not None
            and aggregator.failure is None
            and envoy_name in self.collaborators
            and not aggregator.is_over
            and envoy_name not in aggregator.quit_job_sent_to
            and envoy_name not in self.declined_by
        )

    def invited(self, envoy_name: str) -> None:
        """Note that `envoy_name` is told of this experiment, and begins."""
        if self.aggregator is not None:
            self.aggregator.members.invited(envoy_name)

    def still_wants(self, envoy_name: str) -> bool:
        """Return whether `envoy_name`, which takes part, is to go on with what it does.

        If the rounds have left it behind, it stops, and is invited again. Else it need not be told again.
        """
        if self.aggregator is not None and self.wants(envoy_name):
            return envoy_name not in self.aggregator.members.cut_off
        if self.aggregator is not None and envoy_name not in self.aggregator.quit_job_sent_to:
            self.aggregator.quit_job_sent_to.append(envoy_name)
        return False

    def stop(self, by: str, reason: str) -> None:
        """End the experiment early, on request."""
        if self.aggregator is not None:
            self._stopped = True
            self.aggregator.stop(by, reason)

    async def start(self, **security: Any) -> None:
        """Run the experiment to its end; its status in the store then says how it ended.

        Nothing of its author's runs here: the aggregator is the node's own, and the settings are data.
        """
        logger.info("Experiment %s starts with %s", self.name, ", ".join(self.collaborators))
        self._set_status(Status.IN_PROGRESS)
        ended = store.INTERRUPTED  # if the director ends first
        failure = None
        try:
            with listening_address(self._listen_host, self.aggregator_port) as address:
                self.aggregator = self._make_aggregator()  # at once, so that a stop finds it
                await self._serve(self._make_server(self.aggregator, address, **security))
                failure = self.aggregator.failure
            ended = Status.FINISHED if failure is None else store.STOPPED if self._stopped else Status.FAILED
        except Exception as error:
            logger.exception("Experiment %s failed", self.name)
            failure, ended = f"{type(error).__name__}: {error}", Status.FAILED
        finally:
            if self.aggregator is not None:
                self.aggregator.state.close()
            self.aggregator = None  # everything worth keeping is on disk
            if failure is not None:
                self._experiments.append_failure(self.name, failure)
            self._set_status(ended)
        logger.info("Experiment %s %s%s", self.name, ended, f": {failure}" if failure else "")

    def _make_aggregator(self) -> Aggregator:
        return Aggregator(
            self.collaborators,
            Experiment.read(self.text).settings,
            self._experiments.folder(self.name),
            experiment_id=self.id,
            clip_limits=self._clip_limits,
        )

    def _make_server(
        self, aggregator: Aggregator, address: str, *, tls: bool, **files: Any
    ) -> AggregatorGRPCServer:
        server = AggregatorGRPCServer(
            aggregator=aggregator, agg_port=self.aggregator_port, use_tls=tls, **files
        )
        # Corrects: it listens on all interfaces.
        server.uri = address
        return server

    async def _serve(self, server: AggregatorGRPCServer) -> None:
        grpc_server = server.get_server()
        grpc_server.start()
        try:
            for envoy_name in self.collaborators:
                self._invite(envoy_name)
            while not server.aggregator.all_quit_jobs_sent():
                await asyncio.sleep(POLL_SECONDS)
        finally:
            # A moment of grace lets the answers that are on their way arrive.
            await asyncio.to_thread(grpc_server.stop(grace=0.5).wait)

    def _set_status(self, status: str) -> None:
        self.status = status
        self._experiments.update(self.name, status=status)
