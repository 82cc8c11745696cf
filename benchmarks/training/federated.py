"""Federated training of the pretrained tiny model, and the same steps in processes that work alone."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import statistics
import tempfile
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
MODEL = "tiny"
ENVOYS, ROUNDS, EPOCHS, BATCH = 2, 3, 2, 16

CONFIG = """\
shard_descriptor:
  template: training_shard.NoiseShardDescriptor
  params:
    rank_worldsize: 1, {envoys}
    clips: {clips}
"""


def measure_federation(clips: int, repeats: int) -> dict[str, Any]:
    """Return the wall time of a federation, of plain processes, and their ratio; medians of several.

    Both train and evaluate the same numbers of clips, with one thread in each process. The
    federation's time is that from submission to the end.

    Args:
        clips: training clips of each envoy; a tenth of it is evaluated each time.
        repeats: measurements of each, in turn.
    """
    federated, plain = [], []
    for _ in range(repeats):
        plain.append(plain_seconds(clips))
        federated.append(federated_seconds(clips))
    figures = {"federated_seconds": statistics.median(federated), "plain_seconds": statistics.median(plain)}
    ratio = figures["federated_seconds"] / figures["plain_seconds"]
    work = {
        "model": MODEL,
        "envoys": ENVOYS,
        "training_rounds": ROUNDS,
        "epochs": EPOCHS,
        "clips_per_envoy": clips,
    }
    return {
        **figures,
        "ratio": ratio,
        "ratios": [f / p for f, p in zip(federated, plain, strict=True)],
        **work,
    }


def plain_seconds(clips: int) -> float:
    """Train in processes without a federation; returns seconds from common start to last end."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(ENVOYS + 1)
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        processes = [
            context.Process(target=_plain_process, args=(rank, clips, barrier))
            for rank in range(1, ENVOYS + 1)
        ]
        for process in processes:
            process.start()
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before
    barrier.wait()
    started = time.perf_counter()
    barrier.wait()
    seconds = time.perf_counter() - started
    for process in processes:
        process.join()
    return seconds


def _plain_process(rank: int, clips: int, barrier: Barrier) -> None:
    """Do an envoy's share of the work: the schedule's tasks on the same data, without exchanging weights."""
    import torch

    from benchmarks.training.job import noise_dataset, plain_training
    from superb_ks.model.spec import ModelSpec
    from superb_ks.settings import SUPERB_LABELS
    from superb_ks.training.evaluation import evaluate

    torch.set_num_threads(1)
    settings = tiny_settings()
    spec = ModelSpec.of(settings, SUPERB_LABELS)
    model = spec.build()
    held_out = noise_dataset(spec, max(1, clips // 10), rank)
    train = noise_dataset(spec, clips, rank)
    barrier.wait()
    evaluate(model, held_out, "cpu")  # the initial model is tested
    for number in range(ROUNDS):
        evaluate(model, held_out, "cpu")
        plain_training(model, train, settings, number)
    evaluate(model, held_out, "cpu")  # the last model is validated, the best one tested
    evaluate(model, held_out, "cpu")
    barrier.wait()


def tiny_settings(**ports: Any) -> Any:
    """Return the settings of both ways."""
    from superb_ks.settings import Addresses, Failures, Recipe, Settings

    return Settings(
        model=MODEL,
        rounds=ROUNDS,
        recipe=Recipe(epochs_per_round=EPOCHS, batch_size=BATCH),
        precision="float32",
        failures=Failures(min_envoys=ENVOYS),
        addresses=Addresses(**ports),
    )


def federated_seconds(clips: int) -> float:
    """Train in a federation; returns seconds from the submission to the experiment's end."""
    from benchmarks.transport.ours import copy_nodes
    from benchmarks.transport.watch import wait_until_settled
    from demo.federation import Federation

    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder)
        nodes = copy_nodes(run_dir / "nodes")
        shutil.copy(ROOT / "benchmarks" / "training" / "shard.py", nodes / "envoy" / "training_shard.py")
        config = CONFIG.format(envoys=ENVOYS, clips=clips)
        (nodes / "envoy" / "envoy_config.yaml").write_text(config, encoding="utf-8")
        environment = {"OMP_NUM_THREADS": "1"}
        with Federation(run_dir, envoys=ENVOYS, root=nodes, environment=environment) as federation:
            wait_until_settled(process.pid for process in federation.processes.values())
            return _submit(federation.director_port, federation.aggregator_port)


def _submit(director_port: int, aggregator_port: int) -> float:
    """Run the tutorial's tasks on a federation that is up."""
    from superb_ks.model.packing import pack
    from superb_ks.model.spec import ModelSpec
    from superb_ks.settings import SUPERB_LABELS
    from superb_notebook.connect import connect
    from superb_notebook.experiment import FederatedExperiment
    from superb_notebook.tasks import tutorial_tasks

    settings = tiny_settings(director_port=director_port, aggregator_port=aggregator_port)
    spec = ModelSpec.of(settings, SUPERB_LABELS).sealed()
    tasks = tutorial_tasks(settings)
    experiment = FederatedExperiment(connect(settings), "training")
    initial = pack(spec.build())
    started = time.perf_counter()
    experiment.start(model=spec, tasks=tasks, settings=settings, initial_weights=initial)
    for _ in experiment.records():
        pass
    return time.perf_counter() - started
