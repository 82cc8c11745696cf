"""The sine federation across hosts: director, envoys and notebook, each in a network namespace of its own."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from certificates.federation import renew_certificates
from demo.process import ServiceProcess
from superb_ks.settings import Addresses
from tests.support.lab import ROOT, Event, Outcome
from tests.support.network import Network
from tests.support.sine_experiment import Script
from tests.support.tls_lab import TlsLab

DIRECTOR, NOTEBOOK = "director", "notebook"


class HostsLab(TlsLab):
    """A running federation with mutual TLS, each service on the host of a network that has its name.

    Args:
        folder: receives everything; made if need be.
        network: has the hosts `director`, `notebook` and one for each envoy.
        envoys: how many; ranks count from 1.
        ready_seconds: how long all of them may take to come up.
    """

    def __init__(self, folder: Path, network: Network, envoys: int = 3, ready_seconds: float = 180.0) -> None:
        super().__init__(folder, envoys=envoys)
        self.ready_seconds = ready_seconds
        self.network = network
        self.director_host = network.address(DIRECTOR)
        # The project's own: every host has all of its ports to itself.
        self.director_port, self.aggregator_port = Addresses.director_port, Addresses.aggregator_port
        renew_certificates(self.certificates, [DIRECTOR], hosts=[self.director_host])

    def registered(self) -> set[str]:
        """Names of the envoys that were registered; the director cannot be asked from outside."""
        return {name for name in self.envoy_names if name in self.processes and self.registrations(name)}

    @contextmanager
    def notebook(self, script: Script, **changes: Any) -> Iterator[subprocess.Popen[str]]:
        """Submit an experiment from the notebook's host; its process prints the records."""
        job = self.nodes_dir / "job"
        addresses = self.addresses(director_host=self.director_host)
        settings = self.settings(addresses=addresses, experiment_name=self.new_name(), **changes)
        job.write_bytes(pickle.dumps((settings, script)))
        command = [sys.executable, "-m", "tests.support.remote_notebook", str(job)]
        process = subprocess.Popen(
            self.network.command(NOTEBOOK, command),
            cwd=ROOT,
            env={**self._variables(), "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'workspace'}"},
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def run_on_hosts(self, script: Script, *events: Event, seconds: float, **changes: Any) -> Outcome:
        """Submit an experiment from the notebook's host and follow it, with `events` on the way.

        Args:
            script: what goes wrong in its tasks.
            events: what is done at the first record that matches.
            seconds: after which the notebook is ended, and with it its last line is missing.
            changes: of the settings.
        """
        outcome, waiting = Outcome(), list(events)
        with self.notebook(script, **changes) as notebook, after(seconds, notebook.kill):
            assert notebook.stdout is not None
            for record in map(json.loads, notebook.stdout):
                if "status" in record:
                    outcome.status, outcome.error = record["status"], record["error"]
                    outcome.last_ballast = record["ballast"]
                    break
                outcome.records.append(record)
                if waiting and waiting[0][0](record):
                    waiting.pop(0)[1]()
        assert not waiting, f"{len(waiting)} events never came. {outcome.status} {outcome.error}"
        return outcome

    def _run(self, name: str, command: list[str], folder: Path) -> ServiceProcess:
        return super()._run(name, self.network.command(name, command), folder)


@contextmanager
def after(seconds: float, act: Callable[[], Any]) -> Iterator[None]:
    """Do something after so many seconds, unless the block has ended before."""
    timer = threading.Timer(seconds, act)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
