"""Corrections of OpenFL 1.7.1's envoy, each with the behaviour that it corrects.

Subclasses of what OpenFL lets a launcher of its own use; nothing of OpenFL is copied.
"""

from __future__ import annotations

import functools
import logging
import os
import shutil
import socket
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import grpc
from openfl.component.envoy.envoy import Envoy
from openfl.federated import Plan
from openfl.transport.grpc.exceptions import ShardNotFoundError
from openfl.transport.grpc.grpc_channel_options import channel_options
from openfl.utilities.workspace import ExperimentWorkspace

from envoy_refusals import DirectorDoor, ShardRefused

logger = logging.getLogger("envoy")

RETRY_SECONDS = 1.0
# A sign of life that is not delivered within so long is given up, and the next one is tried.
SIGN_SECONDS = 10.0
# Error codes of a report to the director.
TASK_RAISED, LEFT = 1, 2

# Corrects: after a few failed attempts gRPC pauses for up to two minutes before it tries to connect again.
channel_options.append(("grpc.max_reconnect_backoff_ms", 1000))
# Corrects: gRPC sends calls of the loopback, which nothing encrypts, to the proxy that `http_proxy` names.
channel_options.append(("grpc.enable_http_proxy", 0))
# Corrects: a call that waits for an answer over a link that is cut, or that a firewall has forgotten, waits
# for ever: the far end is gone and nothing says so. A ping after this much silence shows it (gRFC A8,
# client-side keepalive); without the last setting gRPC stops pinging after two while a call waits.
PING_SECONDS, PING_ANSWER_SECONDS = 10, 20
channel_options.extend(
    [
        ("grpc.keepalive_time_ms", 1000 * PING_SECONDS),
        ("grpc.keepalive_timeout_ms", 1000 * PING_ANSWER_SECONDS),
        ("grpc.http2.ping_timeout_ms", 1000 * PING_ANSWER_SECONDS),  # what gRPC 1.65 goes by
        ("grpc.http2.max_pings_without_data", 0),
    ]
)
# Corrects: gRPC measures the line all the time, to find out how much it should take in ahead. A fixed 4 MiB
# is enough for 50 MB a second over 80 ms.
channel_options.extend([("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 4 * 2**20)])


class DamagedArchive(OSError):
    """An experiment's archive did not arrive, or could not be written."""


class FreshWorkspace(ExperimentWorkspace):
    """Corrects: a long-lived process keeps the modules of one experiment's code for the next one, and what it
    unpacked of a damaged archive.
    """

    def __enter__(self) -> None:
        """Unpack the archive into a folder of its own, and work there."""
        forget_code_below(self.cwd)
        try:
            super().__enter__()
        except BaseException:
            shutil.rmtree(self.experiment_work_dir, ignore_errors=True)
            self.data_file_path.unlink(missing_ok=True)
            raise

    def __exit__(self, *exception: Any) -> None:
        """Leave the experiment's folder and forget the code that came from it."""
        try:
            super().__exit__(*exception)
        finally:
            forget_code_below(self.cwd)


def forget_code_below(folder: Path) -> None:
    """Forget the modules that were imported from below ``folder``, and the ways there.

    A copy is looked through: another thread may be importing.
    """
    below = f"{folder}{os.sep}"
    for name, module in sys.modules.copy().items():
        if str(getattr(module, "__dict__", {}).get("__file__")).startswith(below):
            sys.modules.pop(name, None)
    sys.path[:] = [entry for entry in sys.path if not entry.startswith(below)]


class SteadyEnvoy(Envoy):
    """Corrects: an envoy that gives up when the director is not there yet, whose heartbeat dies with the
    director, whose main thread dies of a damaged archive while it still counts as online, that survives
    Ctrl-C, and that tries for ever where it is refused.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._refusal = ""
        self._director = f"{settings['director_host']}:{settings['director_port']}"
        files = (self.root_certificate, self.certificate, self.private_key)
        self._door = DirectorDoor(
            settings["director_host"], int(settings["director_port"]), files if settings["tls"] else None
        )
        self._network = {
            "agg_addr": settings["director_host"],
            "use_tls": settings["tls"],
            "require_client_auth": True,
        }
        stub = self.director_client.stub
        # The director tells two envoys of the same name apart by where they run.
        home = ("envoy_home", os.fsencode(f"{socket.gethostname()}:{Path.cwd()}").hex())
        # And it turns away those whose Python could not read the experiments that come to it.
        python = ("python-version", f"{sys.version_info.major}.{sys.version_info.minor}")
        stub.UpdateShardInfo = functools.partial(stub.UpdateShardInfo, metadata=(home, python))
        # Corrects: between calls that fail at once gRPC makes no progress with its connection, so that a
        # director that was restarted is found after half a minute. A call that waits keeps it going.
        stub.UpdateEnvoyStatus = functools.partial(
            stub.UpdateEnvoyStatus, wait_for_ready=True, timeout=SIGN_SECONDS
        )

    def start(self) -> None:
        """Register, then serve experiments; returns only by an exception.

        Raises:
            ShardRefused: the director does not accept the shard.
        """
        self._register()
        # A daemon thread: OpenFL's pool thread keeps the process alive after Ctrl-C.
        threading.Thread(target=self.send_health_check, name="heartbeat", daemon=True).start()
        self.run()

    def run(self) -> None:
        """Take part in one experiment after another."""
        cut_off = False
        while True:
            try:
                experiment_name = self.director_client.wait_experiment()
                archive = self._download(experiment_name)
            except DamagedArchive as error:  # or a full disk: the director goes on without us
                logger.error("Experiment %r not received: %s", experiment_name, error)
                self._report_failure(experiment_name, error)
                time.sleep(RETRY_SECONDS)
                continue
            except grpc.RpcError as error:
                self._door.require_open(error)
                if not cut_off:
                    logger.warning("Cut off from the director (%s); trying again", _reason(error))
                cut_off = True
                time.sleep(RETRY_SECONDS)
                continue
            cut_off = False
            self._take_part(experiment_name, archive)

    def send_health_check(self) -> None:
        """Give signs of life for ever; registers again with a director that was restarted."""
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
                    if str(refused) != self._refusal:  # said once; the name may become free again
                        logger.error("%s", refused)
                    self._refusal = str(refused)
            except Exception as error:
                logger.debug("Sign of life not delivered: %s", _reason(error))
            time.sleep(seconds or RETRY_SECONDS)

    def _register(self) -> None:
        waiting = False
        while True:
            try:
                accepted = self.director_client.report_shard_info(
                    shard_descriptor=self.shard_descriptor, cuda_devices=self.cuda_devices
                )
            except grpc.RpcError as error:
                self._door.require_open(error)
                if not waiting:
                    script = (
                        "start_director_with_tls.sh HOST" if self._network["use_tls"] else "start_director.sh"
                    )
                    logger.info(
                        "No director at %s yet; trying again every second. Start one: cd director && bash %s",
                        self._director,
                        script,
                    )
                    # From now on it waits for a connection, for the reason that signs of life do.
                    stub = self.director_client.stub
                    stub.UpdateShardInfo = functools.partial(
                        stub.UpdateShardInfo, wait_for_ready=True, timeout=SIGN_SECONDS
                    )
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

    def _download(self, experiment_name: str) -> Path:
        try:
            return self._save_data_stream_to_file(self.director_client.get_experiment_data(experiment_name))
        except grpc.RpcError:
            raise
        except Exception as error:  # OpenFL raises a bare Exception for a chunk of the wrong size
            raise DamagedArchive(f"the archive of {experiment_name} arrived damaged: {error}") from error

    def _take_part(self, experiment_name: str, archive: Path) -> None:
        logger.info("Experiment %s", experiment_name)
        self.is_experiment_running = True
        try:
            with FreshWorkspace(f"{self.name}_{experiment_name}", archive, self.install_requirements):
                self._run_collaborator()
            logger.info("Experiment %s is over", experiment_name)
        except Exception as error:
            if _lost_its_way(error):
                logger.warning("Experiment %s: %s", experiment_name, error)
            else:
                logger.exception("Experiment %s failed", experiment_name)
            self._report_failure(experiment_name, error)
        except BaseException as stop:
            self._report_failure(experiment_name, stop)
            raise
        finally:
            self.is_experiment_running = False

    def _run_collaborator(self, plan: str = "plan/plan.yaml") -> None:
        """Take part in the unpacked experiment.

        Corrects: where the aggregator is, and whether TLS guards the way there, was up to the experiment's
        plan.
        It runs in the director's process, so it is where this envoy knows the director to be.
        """
        parsed = Plan.parse(Path(plan))
        parsed.config["network"]["settings"].update(self._network)
        collaborator = parsed.get_collaborator(
            self.name,
            self.root_certificate,
            self.private_key,
            self.certificate,
            shard_descriptor=self.shard_descriptor,
        )
        collaborator.set_available_devices(cuda=self.cuda_devices)
        collaborator.run()

    def _report_failure(self, experiment_name: str, error: BaseException) -> None:
        """Tell the director at once, so that the others do not wait."""
        if _lost_its_way(error):
            # Corrects: a link that broke counts as a task that raised, which ends the experiment for all. The
            # others go on, and this envoy is invited again as long as there is work for it.
            code, description = LEFT, f"lost the way to the aggregator: {error}"
        elif isinstance(error, Exception):
            code, description = TASK_RAISED, "".join(traceback.format_exception(error))
        else:
            code, description = LEFT, f"stopped by its owner ({error})"
        try:
            self.director_client.set_experiment_failed(experiment_name, code, description)
        except grpc.RpcError as unreachable:
            logger.warning("Failure not reported: %s", _reason(unreachable))


def _lost_its_way(error: BaseException) -> bool:
    """Say whether an experiment ended here because the link to its aggregator broke (``connection.py``)."""
    return bool(getattr(error, "was_reached", False))


def _reason(error: BaseException) -> str:
    """Return one line about ``error``; gRPC's own text has many."""
    if isinstance(error, grpc.RpcError) and isinstance(error, grpc.Call):
        return f"{error.code().name}: {error.details()}"
    return f"{type(error).__name__}: {error}"
