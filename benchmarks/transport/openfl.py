"""OpenFL 1.7.1 as shipped, driven as the original tutorial does: `fx`, a pickled model, the stock adapter.

Run as a module it is the notebook. Two changes let it run at all: the weight normalisation of Wav2Vec2's
positional convolution is folded into its weight, because PyTorch does not pickle it otherwise; and the envoys
do not install the notebook's `pip freeze`. The optimizer makes no step, so that its state, which OpenFL would
send too, stays empty.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import grpc

from benchmarks.transport.engine import (
    EngineFailed,
    Run,
    fair_environment,
    notebook_arguments,
    run_notebook,
)
from benchmarks.transport.job import EventLog, Job
from demo.ports import free_ports
from demo.process import ServiceProcess, stop_all
from superb_node.names import envoy_name
from tests.support.by_tcp import ByTcp

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 180.0
ADAPTER = "openfl.plugins.frameworks_adapters.pytorch_adapter.FrameworkAdapterPlugin"

DIRECTOR_CONFIG = """\
settings:
  listen_host: localhost
  listen_port: {port}
  sample_shape: ['16000']
  target_shape: ['1']
"""
ENVOY_CONFIG = """\
params:
  cuda_devices: []
  install_requirements: false
shard_descriptor:
  template: transport_shard.EmptyShardDescriptor
  params:
    rank_worldsize: {rank}, {clients}
"""


def run(job: Job, run_dir: Path, limit_seconds: float) -> Run:
    """Do a job once with OpenFL as shipped and measure it.

    Raises:
        EngineFailed: a part of OpenFL ended with an error, or did not come up.
    """
    (run_dir / "logs").mkdir()
    port, aggregator_port = free_ports(2)
    started: list[ServiceProcess] = []
    try:
        started.append(start_director(run_dir, port))
        wait_until_registered(run_dir, port, started)  # an envoy that finds no director gives up
        started += [start_envoy(run_dir, port, rank, job) for rank in range(1, job.clients + 1)]
        wait_until_registered(run_dir, port, started)
        pids = {process.name: process.pid for process in started}
        roles = {name: "server" if name == "director" else "client" for name in pids}
        arguments = notebook_arguments(job, run_dir, director_port=port, aggregator_port=aggregator_port)
        command = [sys.executable, "-m", "benchmarks.transport.openfl", arguments]
        workspace = run_dir / "workspace"  # all of it is sent with the experiment
        workspace.mkdir()
        return run_notebook(job, command, run_dir, pids, roles, limit_seconds, cwd=workspace)
    finally:
        stop_all(started)


def start_director(run_dir: Path, port: int) -> ServiceProcess:
    """Start a director in a folder of its own."""
    folder = run_dir / "director"
    folder.mkdir()
    (folder / "director_config.yaml").write_text(DIRECTOR_CONFIG.format(port=port), encoding="utf-8")
    command = ["director", "start", "--disable-tls", "-c", "director_config.yaml"]
    return service("director", command, folder)


def start_envoy(run_dir: Path, port: int, rank: int, job: Job) -> ServiceProcess:
    """Start an envoy in a folder of its own."""
    name = envoy_name(rank)
    folder = run_dir / name
    folder.mkdir()
    config = ENVOY_CONFIG.format(rank=rank, clients=job.clients)
    (folder / "envoy_config.yaml").write_text(config, encoding="utf-8")
    shard = (ROOT / "benchmarks" / "transport" / "shard.py").read_text(encoding="utf-8")
    (folder / "transport_shard.py").write_text(shard, encoding="utf-8")
    command = ["envoy", "start", "-n", name, "--disable-tls", "--envoy-config-path", "envoy_config.yaml"]
    return service(name, [*command, "-dh", "localhost", "-dp", str(port)], folder)


def service(name: str, command: list[str], folder: Path) -> ServiceProcess:
    """Run an `fx` command of the running environment in a folder."""
    fx = str(Path(sys.executable).with_name("fx"))
    variables = {**fair_environment(), "OMP_NUM_THREADS": "1"}
    return ServiceProcess(name, [fx, *command], folder, variables, folder.parent / "logs" / f"{name}.log")


def wait_until_registered(run_dir: Path, port: int, started: list[ServiceProcess]) -> None:
    """Return when the director knows all envoys.

    Raises:
        EngineFailed: a process ended, or it took too long.
    """
    director = ByTcp(run_dir, director_port=port)  # asks only; nothing is started with it
    expected = {process.name for process in started} - {"director"}
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        for process in started:
            if process.exit_code() is not None:
                raise EngineFailed(f"{process.name} ended:\n{process.log_tail()}")
        try:
            if director.registered() >= expected:
                return
        except grpc.RpcError:
            pass  # not listening yet, or in the middle of a registration
        time.sleep(0.5)
    raise EngineFailed(f"envoys did not register in {READY_SECONDS:.0f} s")


def notebook(job: Job, director_port: int, aggregator_port: int, events: str) -> None:
    """Submit the job and follow it to its end."""
    import cloudpickle
    import torch
    from openfl.interface.interactive_api.experiment import FLExperiment, ModelInterface
    from openfl.interface.interactive_api.federation import Federation as OpenFLFederation
    from torch.nn.utils.parametrize import remove_parametrizations

    from benchmarks.transport import job as transport_job
    from benchmarks.transport import openfl_tasks as transport_openfl_tasks

    for module in (transport_job, transport_openfl_tasks):
        cloudpickle.register_pickle_by_value(module)
    log = EventLog(events)
    model = transport_job.random_model(job.size, job.seed)
    remove_parametrizations(model.wav2vec2.encoder.pos_conv_embed.conv, "weight")
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-5)
    log.note("initial", value=transport_job.evaluate(model))
    federation = OpenFLFederation(
        client_id="frontend", director_node_fqdn="localhost", director_port=str(director_port), tls=False
    )
    experiment = FLExperiment(federation=federation, experiment_name="transport")
    log.note("submit")
    experiment.start(
        model_provider=ModelInterface(model=model, optimizer=optimizer, framework_plugin=ADAPTER),
        task_keeper=transport_openfl_tasks.tasks(log),
        data_loader=transport_openfl_tasks.NoData(),
        rounds_to_train=job.rounds,
        opt_treatment="CONTINUE_GLOBAL",
        override_config={"network.settings.agg_port": aggregator_port},
    )
    log.note("submitted")
    experiment.stream_metrics(tensorboard_logs=False)
    log.note("finished")


def main() -> None:
    """Read job and ports from the command line."""
    arguments: dict[str, Any] = json.loads(sys.argv[1])
    notebook(Job(**arguments.pop("job")), **arguments)


if __name__ == "__main__":
    main()
