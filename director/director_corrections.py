"""Corrections of OpenFL 1.7.1's director, each with the behaviour that it corrects.

All of them are subclasses that OpenFL lets a launcher of its own pass in; nothing of OpenFL is copied.
"""

from __future__ import annotations

import asyncio
import logging
import re
import signal
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from openfl.component.director import Director
from openfl.component.director.experiment import Experiment, ExperimentsRegistry, Status
from openfl.protocols import director_pb2
from openfl.transport import AggregatorGRPCServer, DirectorGRPCServer
from openfl.transport.grpc.director_server import CLIENT_ID_DEFAULT
from openfl.transport.grpc.grpc_channel_options import channel_options
from openfl.utilities.workspace import ExperimentWorkspace

logger = logging.getLogger("director")

NAME_PATTERN = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}")
POLL_SECONDS = 0.02

# Corrects: gRPC shares a port between processes by default, so that a second director on the same port takes
# half of the calls, silently. With this, it fails to start.
channel_options.append(("grpc.so_reuseport", 0))


class FreshWorkspace(ExperimentWorkspace):
    """Corrects: a long-lived process keeps the modules of one experiment's code for the next one."""

    def __exit__(self, *exception: Any) -> None:
        """Leave the experiment's folder and forget the modules that came from it."""
        folder = str(self.experiment_work_dir)
        super().__exit__(*exception)
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", None) or "").startswith(folder):
                del sys.modules[name]


class PromptExperiment(Experiment):
    """Corrects: ten seconds of sleep before the end is noticed, a failure that turns into "finished
    successfully", and an aggregator that listens on all interfaces.
    """

    def __init__(self, *, listen_host: str, invite: Callable[[str], None], **settings: Any) -> None:
        super().__init__(**settings)
        self._listen_host = listen_host
        self._invite = invite
        self._own_failure: str | None = None
        self.unable: set[str] = set()  # envoys that failed in this experiment

    @property
    def has_ended(self) -> bool:
        """Say whether nothing more will be recorded."""
        return self.status not in (Status.PENDING, Status.IN_PROGRESS)

    @property
    def records(self) -> list[dict[str, Any]]:
        """Everything reported so far, in OpenFL's metric format."""
        records = list(getattr(self.aggregator, "records", ()))
        if self._own_failure:
            records.append(
                {
                    "round": getattr(self.aggregator, "round_number", 0),
                    "metric_origin": "director",
                    "task_name": "failure",
                    "metric_name": self._own_failure,
                    "metric_value": 0.0,
                }
            )
        return records

    def wants(self, envoy_name: str) -> bool:
        """Say whether ``envoy_name`` has work to do in this experiment."""
        aggregator = self.aggregator
        return (
            self.status == Status.IN_PROGRESS
            and aggregator is not None
            and aggregator.round_number < aggregator.rounds_to_train
            and envoy_name not in aggregator.quit_job_sent_to
            and envoy_name not in self.unable
        )

    def fail(self, envoy_name: str, reason: str) -> None:
        """End the experiment as failed because of ``envoy_name``; no effect once it has ended."""
        self.unable.add(envoy_name)
        if self.status == Status.IN_PROGRESS and self.aggregator is not None:
            self.aggregator.stop(failed_collaborator=envoy_name, reason=reason)

    async def start(self, *, install_requirements: bool = False, **security: Any) -> None:
        """Run the experiment to its end; the status then says how it ended."""
        self.status = Status.IN_PROGRESS
        logger.info("Experiment %s starts with %s", self.name, ", ".join(self.collaborators))
        try:
            with FreshWorkspace(self.name, self.archive_path, install_requirements):
                server = self._create_aggregator_grpc_server(**security)
                server.uri = f"{self._listen_host}:{server.uri.rpartition(':')[2]}"
                self.aggregator = server.aggregator
                self.init_tensor_dict = None  # the aggregator has it now
                await self._serve(server)
        except Exception as error:
            logger.exception("Experiment %s failed", self.name)
            self._own_failure = f"{type(error).__name__}: {error}"
        failure = self._own_failure or getattr(self.aggregator, "failure", None)
        self.status = Status.FAILED if failure else Status.FINISHED
        logger.info("Experiment %s %s%s", self.name, self.status, f": {failure}" if failure else "")

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


class PromptRegistry(ExperimentsRegistry):
    """Corrects: up to ten seconds until a submitted experiment is looked at."""

    @asynccontextmanager
    async def get_next_experiment(self) -> AsyncIterator[PromptExperiment]:
        """Wait for a submitted experiment; it is the active one inside the context."""
        while not self.pending_experiments:
            await asyncio.sleep(POLL_SECONDS)
        async with super().get_next_experiment() as experiment:
            yield experiment


class TutorialDirector(Director):
    """Corrects: failed envoys that are invited again and again, metrics that only the first viewer sees, streams that
    hang when an aggregator cannot start, names that reach the file system unchecked.
    """

    def __init__(self, *, listen_host: str = "localhost", **settings: Any) -> None:
        super().__init__(**settings)
        self._listen_host = listen_host
        self.experiments_registry = PromptRegistry()
        # Corrects: the list of envoys raises KeyError for one that has not asked for an experiment yet.
        self.col_exp: defaultdict[str, str | None] = defaultdict(lambda: None)

    async def set_new_experiment(
        self,
        *,
        experiment_name: str,
        sender_name: str,
        tensor_dict: dict[str, Any],
        collaborator_names: Iterable[str],
        experiment_archive_path: Path,
    ) -> bool:
        """Queue an experiment.

        Raises:
            ValueError: a name that is illegal or taken.
        """
        if not NAME_PATTERN.fullmatch(experiment_name):
            raise ValueError(
                f"experiment name {experiment_name!r}: legal are a letter, then up to 62 letters, digits, '-' or '_'"
            )
        if experiment_name in self.experiments_registry:
            raise ValueError(f"an experiment named {experiment_name!r} exists; choose another name")
        experiment = PromptExperiment(
            listen_host=self._listen_host,
            invite=lambda envoy_name: self.col_exp_queues[envoy_name].put_nowait(experiment_name),
            name=experiment_name,
            archive_path=experiment_archive_path,
            collaborators=list(collaborator_names),
            users=[sender_name],
            sender=sender_name,
            init_tensor_dict=tensor_dict,
        )
        self.experiments_registry.add(experiment)
        return True

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
                        install_requirements=self.install_requirements,
                    )
                finally:
                    watch.cancel()

    async def _watch_envoys(self, experiment: PromptExperiment) -> None:
        """Corrects: an experiment waits for ever for an envoy that died."""
        while not experiment.has_ended:
            await asyncio.sleep(1)
            for envoy_name in experiment.collaborators:
                silence = self.seconds_of_silence(envoy_name)
                if silence > 3 * self.envoy_health_check_period and experiment.wants(envoy_name):
                    experiment.fail(envoy_name, f"no sign of life for {silence:.0f} s")

    def seconds_of_silence(self, envoy_name: str) -> float:
        """Return the seconds since the last sign of life of ``envoy_name``."""
        return time.time() - float(self._shard_registry.get(envoy_name, {}).get("last_updated", 0))

    async def wait_experiment(self, envoy_name: str) -> str:
        """Return the name of an experiment in which ``envoy_name`` has work to do, as soon as there is one."""
        registry = self.experiments_registry
        name = self.col_exp.get(envoy_name)
        while not (name in registry and registry[name].wants(envoy_name)):
            name = await self.col_exp_queues[envoy_name].get()
        self.col_exp[envoy_name] = name
        return name

    async def stream_metrics(self, experiment_name: str, caller: str) -> AsyncIterator[dict[str, Any]]:
        """Yield every record of the experiment from the first on, until it has ended."""
        experiment = self.experiments_registry.get(experiment_name)
        if experiment is None or caller not in experiment.users:
            raise ValueError(f"{caller} has no experiment named {experiment_name!r}")
        sent = 0
        while True:
            ended = experiment.has_ended  # before looking at the records: none is added after the end
            records = experiment.records
            for record in records[sent:]:
                yield record
            sent = len(records)
            if ended:
                return
            await asyncio.sleep(POLL_SECONDS)

    def set_experiment_failed(
        self, *, experiment_name: str, collaborator_name: str, reason: str = "failed"
    ) -> None:
        """Note that ``collaborator_name`` failed in an experiment."""
        experiment = self.experiments_registry.get(experiment_name)
        if experiment is not None:
            experiment.fail(collaborator_name, reason)

    def stop_experiments(self, reason: str) -> None:
        """Tell the envoys of the running experiment to stop."""
        experiment = self.experiments_registry.active_experiment
        if experiment is not None and experiment.aggregator is not None:
            experiment.aggregator.stop(reason=reason)


class TutorialDirectorServer(DirectorGRPCServer):
    """Corrects: refusals that reach the notebook as an internal error, failure reports of envoys that are discarded
    under TLS and stripped of their reason, and a service that dies without cleaning up.
    """

    def __init__(self, *, listen_host: str, **settings: Any) -> None:
        super().__init__(listen_host=listen_host, **settings)
        self.director._listen_host = listen_host

    def serve_until_stopped(self) -> int:
        """Serve until SIGINT or SIGTERM; returns the signal's number."""
        return asyncio.run(self._serve_until_stopped())

    async def _serve_until_stopped(self) -> int:
        stop: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        for signum in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(
                signum, lambda signum=signum: stop.done() or stop.set_result(signum)
            )
        background = [
            asyncio.create_task(self.director.start_experiment_execution_loop()),
            asyncio.create_task(self._run_server()),
        ]
        announced = asyncio.create_task(self._announce())
        await asyncio.wait([stop, *background], return_when=asyncio.FIRST_COMPLETED)
        for task in background:
            if task.done():
                task.result()  # raises what ended the service
        self.director.stop_experiments("the director was stopped")
        await asyncio.sleep(0.5)  # envoys hear of it through their open calls
        # Corrects: a traceback for each envoy whose open call is cancelled now.
        logging.getLogger("grpc._cython.cygrpc").setLevel(logging.CRITICAL)
        await self.server.stop(grace=0.2)
        for task in [*background, announced]:
            task.cancel()
        return await stop

    async def _announce(self) -> None:
        await asyncio.sleep(0.1)
        logger.info("Director listens on %s; Ctrl-C stops it", self.listen_uri)

    async def SetNewExperiment(self, stream: Any, context: Any) -> Any:  # noqa: N802 (gRPC's name)
        """Take in an experiment, or say why not."""
        try:
            return await super().SetNewExperiment(stream, context)
        except ValueError as refusal:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(refusal))

    async def SetExperimentFailed(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Take in an envoy's report that it failed, with its traceback."""
        if self.get_caller(context) in (CLIENT_ID_DEFAULT, request.collaborator_name):
            logger.error("%s failed in %s", request.collaborator_name, request.experiment_name)
            self.director.set_experiment_failed(
                experiment_name=request.experiment_name,
                collaborator_name=request.collaborator_name,
                reason=request.error_description.strip() or "no reason given",
            )
        return director_pb2.SetExperimentFailedResponse()
