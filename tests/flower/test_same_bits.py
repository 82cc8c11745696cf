"""Three rounds end with the same bits: on OpenFL, on SuperNodes, and in a simulation."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from demo.federation import Federation
from demo.flower_federation import FlowerFederation
from demo.ports import free_ports
from demo.process import ServiceProcess, stop_all
from superb_ks.run_files import FINISHED, LAST, RUNNING, STATUS, read_model
from superb_ks.settings import SUPERB_LABELS, Addresses, Recipe, Settings
from superb_ks.types import Vector
from superb_node.envoy.personal import PERSONAL_FOLDER, load
from superb_node.flower.cli import KEEPS_TO_ITSELF, SUPERLINK, FlowerCli, FlowerRefused, toml_value
from superb_notebook.connect import connect
from superb_notebook.flower import copy_app
from superb_notebook.monitor import follow
from superb_notebook.personal import Personal, personal_models
from superb_notebook.tasks import submit
from tests.support.lab import wait_until

pytestmark = [pytest.mark.federation, pytest.mark.slow, pytest.mark.timeout(1500)]

ROOT = Path(__file__).resolve().parents[2]
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
ROUNDS = 3
Personals = tuple[dict[str, Personal], dict[str, list[bytes]]]


def settings_of(engine: str, port: int, aggregator_port: int, runs: Path) -> Settings:
    return Settings(
        engine=engine,
        rounds=ROUNDS,
        recipe=Recipe(epochs_per_round=1),
        personalise=True,
        runs_dir=str(runs),
        addresses=Addresses(director_host="127.0.0.1", director_port=port, aggregator_port=aggregator_port),
    )


def by_notebook(
    kind: type[Federation], engine: str, params: dict[str, str], folder: Path
) -> tuple[Vector, bytes, Personals]:
    """Run the notebook's experiment on two envoys.

    Returns:
        The last model, the experiment's text, and of each envoy its choice, and its personal model if it has
        one.
    """
    with kind(folder, envoys=2, shard_params=params, environment=ONE_THREAD) as running:
        settings = settings_of(engine, running.director_port, running.aggregator_port, folder)
        experiment = submit(connect(settings), settings, SUPERB_LABELS)
        history = follow(experiment.records(), settings.rounds, running.envoy_names)
        assert history.test is not None
        personal = personal_models(history)
        expected = {name: int(each.kept) for name, each in personal.items()}

        def kept() -> dict[str, list[bytes]]:
            folders = {name: folder / "nodes" / name / PERSONAL_FOLDER for name in running.envoy_names}
            return {
                name: [load(file)[1].tobytes() for file in its.rglob("*.npz")]
                for name, its in folders.items()
            }

        # An envoy takes over the model when its worker has ended.
        wait_until(lambda: {name: len(models) for name, models in kept().items()} == expected, 60)
        return experiment.last_weights(), experiment.text, (personal, kept())


@contextmanager
def simulating_superlink(folder: Path) -> Iterator[FlowerCli]:
    """Start a SuperLink that simulates; yields its command line when it answers."""
    port = free_ports(1)[0]
    command = [sys.executable, "-m", "simulation.superlink"]
    variables = {
        **os.environ,
        **KEEPS_TO_ITSELF,
        "DIRECTOR_PORT": str(port),
    }
    folder.mkdir()
    process = ServiceProcess("superlink", command, ROOT, variables, folder / "superlink.log")
    cli = FlowerCli("127.0.0.1", port)
    try:
        wait_until(lambda: answers(process, cli), 180)
        yield cli
    finally:
        stop_all([process])


def by_simulation(text: bytes, params: dict[str, str], folder: Path) -> Vector:
    """Run the same text on two simulated clients; returns the last model."""
    with simulating_superlink(folder) as cli:
        output = folder / "output"
        config = {"output": str(output), "source": "folder", "data-dir": params["data_dir"]}
        (folder / "run.toml").write_text(
            "".join(f"{key} = {toml_value(value)}\n" for key, value in config.items()), encoding="utf-8"
        )
        app = copy_app(folder / "app", text)
        nodes = "num-supernodes=2 client-resources-num-cpus=1"
        cli(
            "run", str(app), SUPERLINK, "--run-config", str(folder / "run.toml"), "--federation-config", nodes
        )
        wait_until(lambda: (output / STATUS).exists() and (output / STATUS).read_text() != RUNNING, 300)
        assert (output / STATUS).read_text() == FINISHED, (folder / "superlink.log").read_text()[-3000:]
        return read_model(output / LAST)


def answers(superlink: ServiceProcess, cli: FlowerCli) -> bool:
    superlink.check()
    try:
        return bool(cli("list", SUPERLINK))
    except FlowerRefused:
        return False


def digest(model: Vector) -> str:
    return hashlib.sha256(model.tobytes()).hexdigest()


def test_both_engines_and_the_simulation_learn_the_same_bits(
    shard_params: dict[str, str], tmp_path: Path
) -> None:
    openfl, text, personal = by_notebook(Federation, "openfl", shard_params, tmp_path / "openfl")
    flower, *same = by_notebook(FlowerFederation, "flower", shard_params, tmp_path / "flower")
    assert same == [text, personal]
    simulated = by_simulation(text, shard_params, tmp_path / "simulation")
    digests = {"openfl": digest(openfl), "flower": digest(flower), "simulation": digest(simulated)}
    print("\n".join(f"{hexadecimal} {engine}" for engine, hexadecimal in digests.items()))
    assert len(set(digests.values())) == 1
