"""Flower's simulation engine: clients are Ray workers of one machine, models go through shared memory."""

from __future__ import annotations

from pathlib import Path

from benchmarks.transport.engine import Run
from benchmarks.transport.flower import prepare, program, services, submit, write_connection
from benchmarks.transport.job import Job
from demo.ports import free_ports


def run(job: Job, run_dir: Path, limit_seconds: float) -> Run:
    """Do a job once with the simulation engine and measure it; its memory is that of all processes together.

    Raises:
        EngineFailed: a part of Flower ended with an error.
    """
    environment = prepare(run_dir)
    (port,) = free_ports(1)
    link = ["--simulation", "--insecure", "--disable-runtime-dependency-installation", "--port", str(port)]
    settings = (
        f'address = "127.0.0.1:{port}"\ninsecure = true\n'
        f"options.num-supernodes = {job.clients}\n"
        # One core each, so that as many clients run at once as there are cores.
        "options.backend.client-resources.num-cpus = 1\n"
    )
    write_connection(run_dir, settings)
    commands = {"superlink": [program("flower-superlink"), *link]}
    with services(commands, port, run_dir, environment) as pids:
        return submit(job, run_dir, environment, pids, {"superlink": "all"}, limit_seconds)
