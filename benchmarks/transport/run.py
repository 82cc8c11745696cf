"""Measures what a federation costs without any training, engine by engine.

    python -m benchmarks.transport --engine ours --size base
    python -m benchmarks.transport --engine all --growth

Results go to benchmarks/results/transport.json; `python -m benchmarks.transport.report` makes table and plot.
"""

from __future__ import annotations

import argparse
import importlib
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.transport import limits as transport_limits
from benchmarks.transport.engine import EngineFailed, Run
from benchmarks.transport.job import Job, parameter_count
from benchmarks.transport.result import ROOT, WrongResult, medians, merge, now
from superb_node.command_line import whole_from
from superb_node.errors import ConfigError
from tests.support.machine import machine

ENGINES = ("ours", "flower-simulation", "flower", "openfl")
MODULES = {
    "ours": "benchmarks.transport.ours",
    "openfl": "benchmarks.transport.openfl",
    "flower": "benchmarks.transport.flower",
    "flower-simulation": "benchmarks.transport.flower_simulation",
}
WORK = ROOT / "build" / "transport"
LIMIT_SECONDS = {"ours": 300.0, "flower": 600.0, "flower-simulation": 300.0, "openfl": 300.0}
QUICK_LIMIT_SECONDS = 120.0


def main(argv: list[str] | None = None) -> int:
    """Run what the command line asks for; returns the exit code."""
    options = parse(argv)
    engines = ENGINES if options.engine == "all" else (options.engine,)
    failures = 0
    jobs = [(engine, size, options.clients) for size in options.size for engine in engines]
    if options.growth:
        jobs += [job for job in growth_jobs() if job not in jobs]
    for engine, size, clients in jobs:
        failures += not measure(engine, Job(size, clients, options.rounds), options)
    merge("limits", {"machine": transport_limits.measure()})
    return min(failures, 1)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", choices=[*ENGINES, "all"], default="all")
    parser.add_argument("--size", nargs="+", default=["small", "base"], help="small, 1m, 10m, base or large")
    parser.add_argument("--clients", type=whole_from(1), default=2)
    parser.add_argument("--rounds", type=whole_from(1), default=3)
    parser.add_argument("--runs", type=whole_from(1), default=3, help="runs of each engine; medians are kept")
    parser.add_argument("--growth", action="store_true", help="our engine over envoys and parameters, too")
    parser.add_argument("--quick", action="store_true", help="one run, short limits")
    options = parser.parse_args(argv)
    if options.quick:
        options.runs = 1
    return options


def growth_jobs() -> list[tuple[str, str, int]]:
    """Return what shows our engine's growth: over parameters, over envoys, and memory with 8 envoys."""
    sizes = [("ours", size, 2) for size in ("small", "1m", "10m", "base", "large")]
    envoys = [("ours", "10m", clients) for clients in (1, 4, 8, 16)]
    return [*sizes, *envoys, ("ours", "base", 8)]


def measure(engine: str, job: Job, options: argparse.Namespace) -> bool:
    """Measure an engine on a job, print the medians and keep them; says whether it worked."""
    limit = QUICK_LIMIT_SECONDS if options.quick else LIMIT_SECONDS[engine]
    runs: list[Run] = []
    for number in range(options.runs):
        try:
            runs.append(run_once(engine, job, limit, number))
        except (ConfigError, EngineFailed, WrongResult) as error:
            print(f"{engine}, {job.size}: {error}", file=sys.stderr)
            return False
        show(engine, job, runs[-1])
        if runs[-1].unfinished:
            break  # another try would take as long
    merge("engines", {f"{engine}/{job.size}/{job.clients}": entry(engine, job, runs)})
    return True


def run_once(engine: str, job: Job, limit_seconds: float, number: int) -> Run:
    """Run an engine in a fresh folder, which is removed if all went well."""
    run_dir = WORK / "runs" / f"{engine}-{job.size}-{job.clients}-{number}"
    shutil.rmtree(run_dir, ignore_errors=True)
    run_dir.mkdir(parents=True)
    run: Run = importlib.import_module(MODULES[engine]).run(job, run_dir, limit_seconds)
    remove_models(run_dir)
    return run


def remove_models(run_dir: Path) -> None:
    """Leave logs and events, drop everything large."""
    for child in run_dir.iterdir():
        if child.is_dir() and child.name != "logs":
            shutil.rmtree(child, ignore_errors=True)


def entry(engine: str, job: Job, runs: list[Run]) -> dict[str, Any]:
    """Return what the results file keeps of some runs."""
    kept = medians([asdict(run) for run in runs])
    return {
        **kept,
        "engine": engine,
        "size": job.size,
        "parameters": parameter_count(job.size),
        "clients": job.clients,
        "training_rounds": job.rounds,
        "runs": len(runs),
        "date": now(),
        "machine": machine(),
    }


def show(engine: str, job: Job, run: Run) -> None:
    """Print one run in a few lines."""
    names = ("submit", "to_first_task", "first_round", "warm_round", "to_finished", "total")
    seconds = "  ".join(f"{name} {run.seconds[name]:.3f}" for name in names if name in run.seconds)
    print(f"{engine}, {job.size}, {job.clients} clients: {seconds} s  {run.unfinished}")
    rounds = [round(value, 3) for value in run.seconds["rounds"]]
    print(f"  rounds {rounds} s; {run.loopback_bytes / 1e6:.0f} MB on the loopback device")
    for role, memory in sorted(run.memory.items()):
        parts = "  ".join(
            f"{name} {value / 1e6:.0f}" for name, value in memory.items() if name != "cpu_seconds"
        )
        print(f"  {role}: {parts} MB; {memory['cpu_seconds']:.1f} s of processor time")
    for name, value in run.details.items():
        print(f"  {name}: {value}")
    sys.stdout.flush()
