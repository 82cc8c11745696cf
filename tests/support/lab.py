"""A federation on sine waves for tests and drills: real director, real envoys, anything may be killed."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import yaml

from demo.federation import Federation
from superb_ks.settings import Addresses, Settings
from superb_node.work_folder import OF_ONE_NODE
from superb_notebook.connect import FederationError, connect
from superb_notebook.experiment import ExperimentFailed, FederatedExperiment
from tests.support import dial
from tests.support.sine_experiment import Script, sine_model, sine_shard, sine_tasks

ROOT = Path(__file__).resolve().parents[2]
SUPPORT = Path(__file__).resolve().parent
Record = dict[str, Any]
Event = tuple[Callable[[Record], bool], Callable[[], Any]]
_NOT_COPIED = shutil.ignore_patterns(*OF_ONE_NODE, "__pycache__", ".*")


def sine_root(folder: Path, health_seconds: int = 5, ports: tuple[int, int] | None = None) -> Path:
    """Make a copy of the folders of director and envoy whose envoy reads sine waves; returns `folder`.

    Args:
        folder: to be made.
        health_seconds: between two heartbeats of an envoy; the project's own setting is 5.
        ports: the first and the last one of the aggregators; None: those that authors name.
    """
    for name in ("director", "envoy"):
        shutil.copytree(ROOT / name, folder / name, ignore=_NOT_COPIED)
    shutil.copy(SUPPORT / "sine_descriptor.py", folder / "envoy")
    config = {
        "params": {"cuda_devices": [], "cpu_threads": 1},
        "shard_descriptor": {
            "template": "sine_descriptor.SineShardDescriptor",
            "params": {"rank_worldsize": "1, 2"},
        },
    }
    (folder / "envoy" / "envoy_config.yaml").write_text(yaml.safe_dump(config))
    director_config = folder / "director" / "director_config.yaml"
    settings = yaml.safe_load(director_config.read_text())
    settings["settings"]["envoy_health_check_period"] = health_seconds
    settings["settings"]["aggregator_port"] = ports and "-".join(map(str, ports))
    director_config.write_text(yaml.safe_dump(settings))
    return folder


@dataclass
class Outcome:
    """How an experiment ended."""

    records: list[Record] = field(default_factory=list)
    status: str = ""
    error: str = ""
    weights: np.ndarray | None = None
    last_ballast: float | None = None

    def of(self, task: str, origin: str | None = None) -> list[Record]:
        """Return the records of a task, or of one origin only."""
        return [r for r in self.records if r["task_name"] == task and origin in (None, r["metric_origin"])]

    def rounds(self, task: str, origin: str) -> list[int]:
        """Return in which rounds `origin` reported on `task`."""
        return sorted({record["round"] for record in self.of(task, origin)})

    @property
    def ballast(self) -> float:
        """A value of the last model that tells who was averaged (see `ballast_after`)."""
        if self.weights is None:
            assert self.last_ballast is not None  # reported from another host, without the weights
            return self.last_ballast
        return float(self.weights[-1])

    def text(self, task: str) -> str:
        """Return what the records of a task say, one a line, such as the reasons of those dropped."""
        lines = [f"round {r['round']}, {r['metric_origin']}: {r['metric_name']}" for r in self.of(task)]
        return "\n".join(lines)


class Lab(Federation):
    """A running federation on sine waves, with what drills do to it.

    Args:
        folder: receives everything; made if need be.
        envoys: how many; ranks count from 1.
        health_seconds: between two heartbeats of an envoy.
        environment: further variables of all services.
        ports: the first and the last one of the aggregators; None: the one that experiments here name.
    """

    def __init__(
        self,
        folder: Path,
        envoys: int = 2,
        health_seconds: int = 5,
        environment: Mapping[str, str] | None = None,
        ports: tuple[int, int] | None = None,
    ) -> None:
        root = sine_root(folder / "originals", health_seconds, ports)
        super().__init__(folder, envoys=envoys, root=root, environment=environment)
        self.health_seconds = health_seconds
        self._numbers = itertools.count(1)

    @property
    def ranks(self) -> list[int]:
        """All ranks."""
        return list(range(1, len(self.envoy_names) + 1))

    @property
    def first(self) -> str:
        """The envoy of rank 1, which drills leave alone."""
        return self.envoy_names[0]

    @property
    def last(self) -> str:
        """The envoy of the highest rank, which drills are about."""
        return self.envoy_names[-1]

    def new_name(self) -> str:
        """Return the name of an experiment that was not used before."""
        return f"drill-{next(self._numbers)}"

    def addresses(self, **changes: Any) -> Addresses:
        """Return where the nodes are."""
        ports = {"director_port": self.director_port, "aggregator_port": self.aggregator_port}
        return Addresses(**{**ports, **changes})

    def settings(self, **changes: Any) -> Settings:
        """Return the settings of an experiment here."""
        return Settings(**{"addresses": self.addresses(), "rounds": 2, **changes})

    def submit(
        self,
        script: Script | None = None,
        *,
        name: str | None = None,
        resume: bool = False,
        on_the_way: Callable[[bytes], bytes] | None = None,
        **changes: Any,
    ) -> FederatedExperiment:
        """Submit an experiment.

        Args:
            script: what goes wrong in its tasks.
            name: a new one by default.
            resume: go on with an interrupted one.
            on_the_way: may change the text before it is sent.
            changes: of the settings.
        """
        script = script or Script()
        settings = self.settings(**changes)
        experiment = FederatedExperiment(connect(settings), name or self.new_name())
        if on_the_way is not None:
            _intercept(experiment, on_the_way)
        experiment.start(
            model=sine_model(script),
            tasks=sine_tasks(script),
            shard=sine_shard(script),
            settings=settings,
            resume=resume,
        )
        return experiment

    def envoy_channel(self, name: str) -> grpc.Channel:
        """Return a line to the director such as the envoy `name` has."""
        return dial.channel(self.director_port)

    def run(self, script: Script | None = None, *events: Event, **changes: Any) -> Outcome:
        """Submit an experiment and follow it to its end, with `events` on the way."""
        return follow(self.submit(script, **changes), *events)

    def kill(self, name: str) -> None:
        """SIGKILL a service, as a power cut would."""
        self.processes[name].kill()

    def stop_service(self, name: str, signum: int = signal.SIGTERM) -> tuple[int, float]:
        """Send a signal to a service; returns its exit code and after how many seconds it had ended."""
        process = self.processes[name]
        process.send_signal(signum)
        seconds = wait_until(lambda: process.exit_code() is not None, 30)
        code = process.exit_code()
        assert code is not None
        return code, seconds

    def impostor(self, name: str) -> tuple[int, str]:
        """Start an envoy of a name from another folder; returns its exit code and what it printed."""
        folder = self.nodes_dir / f"impostor_{next(self._numbers)}"
        shutil.copytree(self._root / "envoy", folder)
        result = subprocess.run(
            ["bash", "start_envoy.sh", name],
            cwd=folder,
            env=self._variables(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return result.returncode, result.stdout + result.stderr

    def restart(self, name: str) -> None:
        """Start an ended service again, without waiting for it."""
        if name == "director":
            self.start_director()
        else:
            self.start_envoy(self.envoy_names.index(name) + 1)

    def crash_director(self, experiment: FederatedExperiment, when: Callable[[Record], bool]) -> None:
        """Kill the director at a record of `experiment`; returns when its successor has all envoys."""
        next(record for record in experiment.records() if when(record))
        before = {name: self.registrations(name) for name in self.envoy_names}
        self.kill("director")
        self.restart("director")
        wait_until(lambda: all(self.registrations(name) > n for name, n in before.items()), 60)

    def registrations(self, name: str) -> int:
        """Return how often an envoy has said that it is registered."""
        return self.log(name).count(" registered;")

    def heal(self, seconds: float = 90.0) -> None:
        """Start again what does not run; then one experiment of one round shows that all is well and warm."""
        ended = [name for name, process in self.processes.items() if process.exit_code() is not None]
        before = {name: self.registrations(name) for name in ended if name != "director"}
        for name in sorted(ended, key=lambda name: name != "director"):
            self.restart(name)
        deadline = time.monotonic() + seconds
        self._wait_for(set(self.envoy_names), deadline)
        wait_until(lambda: all(self.registrations(name) > n for name, n in before.items()), seconds)
        outcome = self.run(rounds=1)
        assert outcome.status == "finished", outcome.error
        assert outcome.rounds("train", self.last) == [0], "the last envoy did not take part"

    def log(self, name: str) -> str:
        """Return a service's whole log."""
        return self.processes[name].log_path.read_text()

    def work_left(self, name: str) -> list[str]:
        """Return what is in the work folder of a service."""
        # A lock file stays: it is empty, and who removed it could let two processes lock one name.
        left = (self.nodes_dir / name / "work").glob("*")
        return sorted(path.name for path in left if not path.name.endswith(".lock"))


def follow(
    experiment: FederatedExperiment, *events: Event, on_record: Callable[[Record], None] = lambda _: None
) -> Outcome:
    """Follow an experiment to its end; at the first record that matches the next event, do what it says."""
    outcome = Outcome()
    waiting = list(events)
    try:
        for record in experiment.records():
            outcome.records.append(record)
            on_record(record)
            if waiting and waiting[0][0](record):
                waiting.pop(0)[1]()
        outcome.status = experiment.status()
    except ExperimentFailed as failed:
        outcome.error = str(failed)
        if "does not answer" not in outcome.error:
            outcome.status = experiment.status()
    assert not waiting, f"{len(waiting)} events never came. {outcome.status} {outcome.error}"
    with contextlib.suppress(FederationError):
        outcome.weights = experiment.last_weights()
    return outcome


def _intercept(experiment: FederatedExperiment, on_the_way: Callable[[bytes], bytes]) -> None:
    client = experiment.federation.dir_client
    send = client.submit

    def changed(name: str, envoys: list[str], text: bytes, model: Any, port: int) -> None:
        send(name, envoys, on_the_way(text), model, port)

    client.submit = changed


def at(round_number: int, origin: str, task: str) -> Callable[[Record], bool]:
    """Match the first record of `origin` on `task` in a round."""
    wanted = (round_number, origin, task)
    return lambda record: (record["round"], record["metric_origin"], record["task_name"]) == wanted


def wait_until(condition: Callable[[], bool], seconds: float) -> float:
    """Return how many seconds it took until `condition` held.

    Raises:
        AssertionError: it did not within `seconds`.
    """
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, f"not within {seconds:g} s"
        time.sleep(0.05)
    return time.monotonic() - started
