"""The envoy: registers its shard, sends heartbeats, and takes part in experiments that its owner lets in.

OpenFL's own class, with what it does wrong corrected; nothing of OpenFL is copied.
"""

from __future__ import annotations

import functools
import logging
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

import grpc
from openfl.component.envoy.envoy import Envoy as OpenFLEnvoy
from openfl.protocols import director_pb2
from openfl.transport.grpc.exceptions import ShardNotFoundError

from superb_ks.experiment import Experiment, UnsoundExperiment
from superb_node import local_socket
from superb_node.approval.gate import Declined, Gate
from superb_node.channel_options import set_client_options
from superb_node.envoy.approval_wait import ASK_SECONDS, still_runs, wait_for_approval
from superb_node.envoy.confinement import possible
from superb_node.envoy.download import DamagedDownload, Download, receive
from superb_node.envoy.models import provide
from superb_node.envoy.participation import failure_report, one_line
from superb_node.envoy.personal import SUFFIX, take_over
from superb_node.envoy.refusals import RefusalDetector, ShardRefused
from superb_node.envoy.repeats import Repeats
from superb_node.envoy.template import Template, WorkerFailed
from superb_node.names import illegal_name, is_legal_name
from superb_node.reports import DECLINED, HOME_HEADER, ID_HEADER, LEFT, WAITS
from superb_node.work_folder import own_workspace

logger = logging.getLogger("envoy")

RETRY_SECONDS = 1.0
HEARTBEAT_TIMEOUT_SECONDS = 10.0
"""A heartbeat that is not delivered within this time is given up, and the next one is tried."""


class Envoy(OpenFLEnvoy):
    """Corrects: an envoy that gives up when the director is not there yet, whose heartbeat dies with the
    director, whose main thread dies of a damaged experiment while it still counts as online, that survives
    Ctrl-C, that keeps trying where it is refused, and that runs whatever arrives.

    Args:
        gate: of this node's owner.
        template: forks the workers that experiments run in.
        personal: folder for the personal models of this envoy.
        settings: of OpenFL's envoy.
    """

    def __init__(self, *, gate: Gate, template: Template, personal: Path, **settings: Any) -> None:
        set_client_options()
        super().__init__(**settings)
        self.gate = gate
        self._template, self._personal = template, personal
        self._repeats = Repeats()
        self._last_refusal = ""
        self._director = local_socket.shown(settings["director_host"], settings["director_port"])
        files = (self.root_certificate, self.certificate, self.private_key)
        self._refusals = RefusalDetector(
            settings["director_host"], settings["director_port"], files if settings["tls"] else None
        )
        self._director_host, self.tls = settings["director_host"], bool(settings["tls"])
        stub = self.director_client.stub
        # The director tells two envoys of the same name apart by where they run.
        home = (HOME_HEADER, os.fsencode(f"{socket.gethostname()}:{Path.cwd()}").hex())
        stub.UpdateShardInfo = functools.partial(stub.UpdateShardInfo, metadata=(home,))
        # Corrects: between calls that fail at once gRPC makes no progress with its connection, so that a
        # director that was restarted is found after half a minute. A call that waits keeps it going.
        stub.UpdateEnvoyStatus = functools.partial(
            stub.UpdateEnvoyStatus, wait_for_ready=True, timeout=HEARTBEAT_TIMEOUT_SECONDS
        )

    def start(self) -> None:
        """Register, then serve experiments; returns only by an exception.

        Raises:
            ShardRefused: the director does not accept the shard.
        """
        self._register()
        logger.info("Authors' code runs in processes of its own; %s", possible())
        # A daemon thread: OpenFL's pool thread keeps the process alive after Ctrl-C.
        threading.Thread(target=self.send_health_check, name="heartbeat", daemon=True).start()
        self.run()

    def run(self) -> None:
        """Take part in one experiment after another."""
        cut_off = False
        while True:
            try:
                experiment_name = self.director_client.wait_experiment()
                download = self._download(experiment_name)
            except DamagedDownload as error:  # the director goes on without us
                logger.error("Experiment %r not received: %s", experiment_name, error)
                self._report(experiment_name, "", *failure_report(error))
                time.sleep(RETRY_SECONDS)
                continue
            except grpc.RpcError as error:
                self._refusals.raise_if_refused(error)
                if not cut_off:
                    logger.warning("Cut off from the director (%s); trying again", one_line(error))
                cut_off = True
                time.sleep(RETRY_SECONDS)
                continue
            cut_off = False
            self._take_part(download)

    def send_health_check(self) -> None:
        """Send heartbeats for ever; registers again with a director that was restarted."""
        while True:
            seconds: float | None = RETRY_SECONDS
            try:
                seconds = self.director_client.send_health_check(
                    envoy_name=self.name,
                    is_experiment_running=self.is_experiment_running,
                    cuda_devices_info=self._get_cuda_device_info(),
                )
            except ShardNotFoundError:
                logger.info("The director does not know this shard (any more): registering again")
                try:
                    self._register()
                except ShardRefused as refused:
                    if str(refused) != self._last_refusal:  # said once; the name may become free again
                        logger.error("%s", refused)
                    self._last_refusal = str(refused)
            except Exception as error:
                logger.debug("Heartbeat not delivered: %s", one_line(error))
            time.sleep(seconds or RETRY_SECONDS)

    def _register(self) -> None:
        waiting = False
        while True:
            try:
                accepted = self.director_client.report_shard_info(
                    shard_descriptor=self.shard_descriptor, cuda_devices=self.cuda_devices
                )
            except grpc.RpcError as error:
                self._refusals.raise_if_refused(error)
                if not waiting:
                    self._begin_to_wait_for_director()
                waiting = True
                time.sleep(RETRY_SECONDS)
                continue
            if not accepted:
                raise ShardRefused(
                    f"the director refused shard {self.name}: "
                    f"sample_shape {self.shard_descriptor.sample_shape} and "
                    f"target_shape {self.shard_descriptor.target_shape} "
                    "must be those in its director_config.yaml"
                )
            logger.info("Shard %s registered; Ctrl-C stops the envoy", self.name)
            return

    def _begin_to_wait_for_director(self) -> None:
        script = "start_director_with_tls.sh HOST" if self.tls else "start_director.sh"
        local = self._director_host == local_socket.HOST
        logger.info(
            "No director at %s yet; trying again every second. Start one: cd director && bash %s%s",
            self._director,
            script,
            local_socket.who_else(self._director) if local else "",
        )
        # From now on it waits for a connection, for the reason that heartbeats do.
        stub = self.director_client.stub
        stub.UpdateShardInfo = functools.partial(
            stub.UpdateShardInfo, wait_for_ready=True, timeout=HEARTBEAT_TIMEOUT_SECONDS
        )

    def _download(self, experiment_name: str) -> Download:
        if not is_legal_name(experiment_name):
            raise DamagedDownload(illegal_name("experiment name", experiment_name))
        return receive(experiment_name, self.director_client.get_experiment_data(experiment_name))

    def _take_part(self, download: Download) -> None:
        """Run an experiment if the owner lets it in."""
        name = download.name
        try:
            if not self._is_let_in(download):
                logger.info("Experiment %s ended before it was approved", name)
            elif self._repeats.wait(download.id, lambda: self._still_runs(download), ASK_SECONDS):
                self._run_experiment(download)
        except (Declined, UnsoundExperiment) as declined:
            logger.warning("Experiment %s: %s", name, declined)
            self._report(name, download.id, DECLINED, str(declined))
        except WorkerFailed as failed:
            level = logging.WARNING if failed.code == LEFT else logging.ERROR
            logger.log(level, "Experiment %s failed: %s", name, failed.text)
            self._report(name, download.id, failed.code, failed.text)
        except Exception as error:  # also a full disk: the director goes on without us
            logger.exception("Experiment %s failed", name)
            self._report_failure(download, error)
        except BaseException as stop:
            self._report_failure(download, stop)
            raise

    def _is_let_in(self, download: Download) -> bool:
        """Wait until the owner approves, or the experiment is over (False).

        Raises:
            Declined, UnsoundExperiment: it does not run here.
        """
        submission = self.gate.inspect(download.name, download.author, download.text)
        logger.info("Experiment %s of %r, digest %s", download.name, download.author, submission.digest)
        if self.gate.is_approved(submission):
            return True
        self._report(download.name, download.id, WAITS, f"{download.name}, digest {submission.digest}")
        return wait_for_approval(self.gate, submission, download, self.director_client.stub, self.name)

    def _run_experiment(self, download: Download) -> None:
        logger.info("Experiment %s", download.name)
        self.is_experiment_running = True
        try:
            with own_workspace(f"{self.name}_{download.name}") as folder:
                try:
                    done = self._run_worker(download, folder)
                finally:
                    file = self._personal / f"{download.name}{SUFFIX}"
                    take_over(folder, download.text, download.model_size, file)
            ended = "is over" if done else "no longer waits for this envoy; its process was ended"
            logger.info("Experiment %s %s", download.name, ended)
        finally:
            self.is_experiment_running = False

    def _run_worker(self, download: Download, folder: Path) -> bool:
        """Run the experiment in a process of its own; False if it was ended since nobody waits for it."""
        model = Experiment.read(download.text).model
        source = provide(str(model.get("name", ""))) if isinstance(model, dict) else None
        job = {
            "folder": str(folder),
            "text": download.text.decode(),
            "id": download.id,
            "port": download.aggregator_port,
            "model": source and str(source),
        }
        began = time.monotonic()
        try:
            done = self._template.run(job, lambda: self._still_runs(download), ASK_SECONDS)
        except WorkerFailed:
            self._repeats.ended(download.id, began)
            raise
        if done:
            self._repeats.ended(download.id, began)
        return done

    def _still_runs(self, download: Download) -> bool:
        return still_runs(download, self.director_client.stub, self.name)

    def _report_failure(self, download: Download, error: BaseException) -> None:
        """Tell the director at once, so that the others do not wait."""
        self._report(download.name, download.id, *failure_report(error))

    def _report(self, experiment_name: str, experiment_id: str, code: int, text: str) -> None:
        """Tell the director; an id says which experiment of that name is meant, since it may be resumed."""
        report = director_pb2.SetExperimentFailedRequest(
            experiment_name=experiment_name,
            collaborator_name=self.name,
            error_code=code,
            error_description=text,
        )
        about = ((ID_HEADER, experiment_id),) if experiment_id else None
        try:
            self.director_client.stub.SetExperimentFailed(report, metadata=about)
        except grpc.RpcError as unreachable:
            logger.warning("The director was not told: %s", one_line(unreachable))
