"""This project's engine: its director and envoys, started by their scripts, and its `FederatedExperiment`.

Run as a module it is the notebook: `python -m benchmarks.transport.ours '{"size": "small", …}'`.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from benchmarks.transport.engine import Run, notebook_arguments, run_notebook
from benchmarks.transport.job import EventLog, Job
from superb_node.work_folder import OF_ONE_NODE
from tests.support.by_tcp import ByTcp

ROOT = Path(__file__).resolve().parents[2]

ENVOY_CONFIG = """\
shard_descriptor:
  template: transport_shard.EmptyShardDescriptor
  params:
    rank_worldsize: 1, 2
"""


def run(job: Job, run_dir: Path, limit_seconds: float) -> Run:
    """Do a job once and measure it.

    Raises:
        EngineFailed, WrongResult: see `benchmarks.transport.engine.run_notebook`.
    """
    nodes = prepare_nodes(run_dir / "nodes")
    with ByTcp(run_dir, envoys=job.clients, root=nodes) as federation:
        pids = {name: process.pid for name, process in federation.processes.items()}
        roles = {name: "server" if name == "director" else "client" for name in pids}
        arguments = notebook_arguments(
            job,
            run_dir,
            director_port=federation.director_port,
            aggregator_port=federation.aggregator_port,
        )
        command = [sys.executable, "-m", "benchmarks.transport.ours", arguments]
        return run_notebook(job, command, run_dir, pids, roles, limit_seconds)


def prepare_nodes(folder: Path) -> Path:
    """Copy director and envoy, the envoy with a shard descriptor that needs no data."""
    envoy = copy_nodes(folder) / "envoy"
    shutil.copy(ROOT / "benchmarks" / "transport" / "shard.py", envoy / "transport_shard.py")
    (envoy / "envoy_config.yaml").write_text(ENVOY_CONFIG, encoding="utf-8")
    return folder


def copy_nodes(folder: Path) -> Path:
    """Copy the folders of director and envoy, without what running services left there; returns `folder`."""
    ignore = shutil.ignore_patterns(*OF_ONE_NODE, "__pycache__", ".*")
    for name in ("director", "envoy"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    return folder


def notebook(job: Job, director_port: int, aggregator_port: int, events: str) -> None:
    """Submit the job and follow it to its end."""
    from benchmarks.transport import job as transport_job
    from benchmarks.transport import ours_model
    from superb_ks.model.packing import pack
    from superb_ks.settings import Addresses, Failures, Settings
    from superb_notebook.connect import connect
    from superb_notebook.experiment import FederatedExperiment

    log = EventLog(events)
    settings = Settings(
        # By TCP, as the other engines, so that the loopback's bytes can be counted.
        addresses=Addresses(
            director_port=director_port,
            aggregator_port=aggregator_port,
            insecure_allow_plaintext_on_network=True,
        ),
        rounds=job.rounds,
        failures=Failures(min_envoys=job.clients),
    )
    initial = transport_job.random_model(job.size, job.seed)
    log.note("initial", value=transport_job.evaluate(initial))
    federation = connect(settings)
    experiment = FederatedExperiment(federation, "transport")
    log.note("submit")
    experiment.start(
        model=ours_model.model_of(job.size),
        tasks=ours_model.tasks(),
        settings=settings,
        shard=ours_model.no_shard,
        initial_weights=pack(initial),
    )
    log.note("submitted")
    records = list(experiment.records())
    ours_model.note_tasks(log, records)
    round_seconds = [record["metric_value"] for record in records if record["task_name"] == "round"]
    if experiment.status() != "finished":
        raise RuntimeError(f"the experiment is {experiment.status()}")
    log.note("finished", round_seconds=round_seconds, experiment_bytes=len(experiment.text))


def main() -> None:
    """Read job and ports from the command line."""
    arguments: dict[str, Any] = json.loads(sys.argv[1])
    notebook(Job(**arguments.pop("job")), **arguments)


if __name__ == "__main__":
    main()
