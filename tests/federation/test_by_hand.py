"""Two envoys started by hand, in a shell that has HOME and PATH alone: what holds inside them."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from openfl.interface.interactive_api.experiment import TaskInterface

from demo.federation import Federation
from superb_ks.settings import Addresses, Settings
from superb_node.envoy.threads import usable_cores
from superb_notebook.connect import connect
from superb_notebook.experiment import FederatedExperiment
from tests.support.lab import Outcome, follow, sine_root, wait_until
from tests.support.sine_experiment import Script, sine_model, sine_shard, tasks_that

pytestmark = pytest.mark.federation

# What torchrun tells the second of its two processes.
TORCHRUN = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}
TORCHRUN |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511"}


class ByHand(Federation):
    """Starts the scripts as a person does, with what the shell has and the director's port."""

    def _variables(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
        bare = {"HOME": os.environ["HOME"], "PATH": path, "DIRECTOR_PORT": str(self.director_port)}
        return {**bare, **self._environment}

    def run(self, number: int) -> Outcome:
        """Run an experiment whose tasks tell what they see."""
        addresses = Addresses(director_port=self.director_port, aggregator_port=self.aggregator_port)
        settings = Settings(addresses=addresses, rounds=1, seed=number)
        experiment = FederatedExperiment(connect(settings), f"told-{number}")
        experiment.start(
            model=sine_model(Script()), tasks=telling_tasks(), shard=sine_shard(Script()), settings=settings
        )
        return follow(experiment)


def telling_tasks() -> TaskInterface:
    def tell() -> dict[str, float]:
        from superb_ks.training.arguments import RoundArguments

        arguments = RoundArguments()
        return {
            "threads": torch.get_num_threads(),
            "passive": float(os.environ.get("OMP_WAIT_POLICY") == "passive"),
            "processes": arguments.world_size,
            "accuracy": 1.0,
            "loss": 1.0,
            "clips": 1,
        }

    return tasks_that(tell)


def told(outcome: Outcome, what: str) -> dict[str, set[float]]:
    """Return what each envoy's tasks have told under a name."""
    assert outcome.status == "finished", outcome.error
    answers: dict[str, set[float]] = {}
    for record in outcome.records:
        if record["metric_name"] == what and record["metric_origin"].startswith("env_"):
            answers.setdefault(record["metric_origin"], set()).add(float(record["metric_value"]))
    return answers


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ByHand]:
    folder = tmp_path_factory.mktemp("by_hand")
    root = sine_root(folder / "originals")
    config = root / "envoy" / "envoy_config.yaml"
    shard = {"shard_descriptor": yaml.safe_load(config.read_text())["shard_descriptor"]}
    config.write_text(yaml.safe_dump(shard))  # nobody says how many threads
    environment = {**TORCHRUN, "OMP_DISPLAY_ENV": "VERBOSE"}
    with ByHand(folder, envoys=2, root=root, environment=environment) as federation:
        yield federation


def test_envoys_share_the_cores_and_stand_in_no_other_job(by_hand: ByHand) -> None:
    outcome = by_hand.run(1)
    share = float(max(1, usable_cores() // 2))
    assert told(outcome, "threads") == {"env_one": {share}, "env_two": {share}}
    assert told(outcome, "passive") == {"env_one": {1.0}, "env_two": {1.0}}
    assert told(outcome, "processes") == {"env_one": {1.0}, "env_two": {1.0}}


@pytest.mark.parametrize("name", ["director", "env_one", "env_two"])
def test_the_runtime_of_openmp_has_heard_of_it(by_hand: ByHand, name: str) -> None:
    def heard() -> set[tuple[str, str]]:
        log = by_hand.processes[name].log_path.read_text()
        return set(re.findall(r"(OMP_WAIT_POLICY|GOMP_SPINCOUNT)\s*=\s*'(\w+)'", log))

    wait_until(lambda: len(heard()) >= 2, 120)
    assert heard() == {("OMP_WAIT_POLICY", "PASSIVE"), ("GOMP_SPINCOUNT", "1000")}


def test_an_envoy_that_stays_alone_takes_the_cores_of_the_other(by_hand: ByHand) -> None:
    by_hand.processes["env_two"].kill()
    wait_until(lambda: by_hand.registered() == {"env_one"}, 60)
    assert told(by_hand.run(2), "threads") == {"env_one": {float(usable_cores())}}
