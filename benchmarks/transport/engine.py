"""What all engines share: one run with its limit, its watch over memory and traffic, and its figures."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.transport.job import EventLog, Job
from benchmarks.transport.result import check, figures
from benchmarks.transport.watch import MemoryWatch, loopback_bytes, wait_until_settled
from demo.process import ServiceProcess, stop_all

ROOT = Path(__file__).resolve().parents[2]
_POLL_SECONDS = 0.05


class EngineFailed(RuntimeError):
    """An engine ended with an error; the message holds the end of its log."""


@dataclass
class Run:
    """One measured run.

    Attributes:
        seconds: see `benchmarks.transport.result.figures`.
        memory: by role, `server` and `client` (the largest of them): bytes, and seconds of processor time.
        loopback_bytes: what the loopback device carried meanwhile.
        unfinished: why the figures are incomplete, or an empty string.
        details: what else the engine reports.
    """

    seconds: dict[str, Any]
    memory: dict[str, dict[str, float]]
    loopback_bytes: int
    unfinished: str = ""
    details: dict[str, Any] = field(default_factory=dict)


def fair_environment() -> dict[str, str]:
    """Return an environment in which no engine loses to this one by proxies or by threads that spin."""
    hosts = [os.environ.get("no_proxy", ""), "localhost", "127.0.0.1"]
    return {
        "OMP_WAIT_POLICY": "passive",
        **os.environ,
        "no_proxy": ",".join(filter(None, hosts)),
        "PYTHONUNBUFFERED": "1",
    }


def run_notebook(
    job: Job,
    command: list[str],
    run_dir: Path,
    pids: dict[str, int],
    roles: dict[str, str],
    limit_seconds: float,
    *,
    cwd: Path = ROOT,
    environment: dict[str, str] | None = None,
    notes_itself: bool = True,
) -> Run:
    """Start the process that submits, wait for its end, and say what was measured.

    Args:
        job: what is done.
        command: program and arguments.
        run_dir: receives `logs/notebook.log`; has, or gets, `events.jsonl`.
        pids: the services to watch, by name.
        roles: `server` or `client`, by the same names.
        limit_seconds: after which the run counts as unfinished.
        cwd: working directory of the process.
        environment: additional variables.
        notes_itself: whether the command notes `submit` and `finished`; otherwise its start and end count.

    Raises:
        EngineFailed: the process ended with an error.
        WrongResult: the weights at the end are not those of the job.
    """
    log = EventLog(run_dir / "events.jsonl")
    variables = {**fair_environment(), "PYTHONPATH": python_path(), **(environment or {})}
    wait_until_settled(pids.values())
    before = loopback_bytes()
    (run_dir / "logs").mkdir(parents=True, exist_ok=True)
    with MemoryWatch(pids) as watch:
        if not notes_itself:
            log.note("submit")
        process = ServiceProcess("notebook", command, cwd, variables, run_dir / "logs" / "notebook.log")
        try:
            unfinished = wait_for(process, limit_seconds)
        finally:
            stop_all([process])
        if not notes_itself and not unfinished:
            log.note("finished")
    return finished_run(job, log, watch, roles, loopback_bytes() - before, unfinished)


def wait_for(process: ServiceProcess, limit_seconds: float) -> str:
    """Wait for a process to end; returns why it was given up, or an empty string.

    Raises:
        EngineFailed: it ended with an error.
    """
    deadline = time.monotonic() + limit_seconds
    while (exit_code := process.exit_code()) is None:
        if time.monotonic() > deadline:
            return f"did not finish in {limit_seconds:.0f} s"
        time.sleep(_POLL_SECONDS)
    if exit_code != 0:
        raise EngineFailed(f"{process.name} ended with exit code {exit_code}:\n{process.log_tail()}")
    return ""


def finished_run(
    job: Job, log: EventLog, watch: MemoryWatch, roles: dict[str, str], traffic: int, unfinished: str
) -> Run:
    """Put a run's figures together and check its result, if there is one."""
    events = log.read()
    if not unfinished:
        check(events, job)
    details = {
        key: event[key]
        for event in events
        if event["event"] == "finished"
        for key in event
        if key not in ("t", "event")
    }
    return Run(figures(events, job), by_role(watch.figures(), roles), traffic, unfinished, details)


def by_role(memory: dict[str, dict[str, float]], roles: dict[str, str]) -> dict[str, dict[str, float]]:
    """Return the largest of the processes of each role, by peak."""
    largest: dict[str, dict[str, float]] = {}
    for name, figure in memory.items():
        role = roles[name]
        if role not in largest or figure["peak"] > largest[role]["peak"]:
            largest[role] = figure
    return largest


def notebook_arguments(job: Job, run_dir: Path, **arguments: Any) -> str:
    """Return the argument of a notebook process of ours: JSON with job, event log and `arguments`."""
    return json.dumps({"job": asdict(job), "events": str(run_dir / "events.jsonl"), **arguments})


def python_path() -> str:
    """Return the module path of the processes of a run: the repository and the workspace."""
    return os.pathsep.join([str(ROOT), str(ROOT / "workspace")])
