"""Flower's simulation engine: clients are Ray workers of one machine, models go through shared memory."""

from __future__ import annotations

from pathlib import Path

from benchmarks.transport.engine import Run
from benchmarks.transport.flower import prepare, services, submit
from benchmarks.transport.job import Job
from demo.ports import free_ports
from superb_node.flower.launch import program


def run(job: Job, run_dir: Path, limit_seconds: float) -> Run:
    """Do a job once with the simulation engine and measure it; its memory is that of all processes together.

    Raises:
        ConfigError: Flower is not installed.
        EngineFailed: a part of Flower ended with an error.
    """
    (port,) = free_ports(1)
    environment = prepare(run_dir, port)
    link = ["--simulation", "--insecure", "--disable-runtime-dependency-installation", "--port", str(port)]
    # One core each, so that as many clients run at once as there are cores.
    clients = ["--federation-config", f"num-supernodes={job.clients} client-resources-num-cpus=1"]
    commands = {"superlink": [str(program("flower-superlink")), *link]}
    with services(commands, port, run_dir, environment) as pids:
        return submit(job, run_dir, environment, pids, {"superlink": "all"}, limit_seconds, *clients)
