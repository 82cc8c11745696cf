"""A personal model is kept where the envoy's own validation gains, and nothing but numbers leaves for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from openfl.protocols import aggregator_pb2
from torch import nn

from superb_ks.aggregator.aggregator import Aggregator
from superb_ks.collaborator.aggregator_client import AggregatorConnection
from superb_ks.collaborator.collaborator import make_collaborator
from superb_ks.collaborator.personal import personalise, save_pretrained
from superb_ks.collaborator.tasks import Tasks
from superb_ks.experiment import Experiment
from superb_ks.model.folder import load_classifier
from superb_ks.model.packing import pack, unpack
from superb_ks.model.spec import ModelSpec
from superb_ks.settings import SUPERB_LABELS, Lora, Settings
from superb_ks.types import Vector
from tests.support.aggregator import EXPERIMENT_ID, aggregator_on, new_state_folder
from tests.support.experiments import ARGUMENTS, MODEL
from tests.support.experiments import TASKS as SMALLEST
from tests.support.served_aggregator import client_to, serving

WEIGHTS = 1000
# The federated model's weights are 1, and training adds 1. Validation and test spoil the model behind them.
TASKS = """\
import torch
from torch import nn

def build_model():
    return nn.Linear(1000, 1, bias=False)

def open_shard(shard_descriptor):
    return shard_descriptor

def train(model, shard, device, optimizer, round_num):
    shard["rounds"].append(round_num)
    with torch.no_grad():
        model.weight += 1
    return {"clips": len(shard["train"])}

def seen(model):
    value = float(model.weight.detach().min())
    model.weight.data += 10
    return value

def validate(model, shard, device):
    return {"accuracy": shard["accuracy"][seen(model)], "clips": len(shard["val"])}

def test(model, shard, device):
    return {"accuracy": seen(model) / 4, "loss": 1.0, "clips": len(shard["test"])}
"""


def experiment(**settings: Any) -> Experiment:
    arguments = {**ARGUMENTS, "train": {**ARGUMENTS["train"], "round_num": "round_num"}}
    return Experiment(Settings(**settings), "build_model", TASKS, arguments, "open_shard")


def shard(after: float, **changes: Any) -> dict[str, Any]:
    """A shard on which the federated model's accuracy is 0.5, and that of the personal one `after`."""
    clips = {"train": [0] * 5, "val": [0] * 8, "test": [0] * 4}
    return {**clips, "rounds": [], "accuracy": {1.0: 0.5, 2.0: after}, **changes}


def chosen(data: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    model = nn.Linear(WEIGHTS, 1, bias=False)
    nn.init.ones_(model.weight)
    return personalise(Tasks(experiment()), model, data, "cpu", round_number=3)


def test_a_model_that_gains_on_the_envoys_own_validation_is_kept() -> None:
    data = shard(after=0.625)
    metrics, weights = chosen(data)
    assert metrics == {
        "clips": 8,
        "federated": 0.5,
        "personal": 0.625,
        "kept": 1,
        "test_clips": 4,
        "test_federated": 0.25,
        "test_personal": 0.5,
    }
    assert weights is not None
    assert weights.tolist() == [2.0] * WEIGHTS
    assert data["rounds"] == [3]


@pytest.mark.parametrize("after", [0.5, 0.375])
def test_one_that_does_not_is_not_however_well_it_tests(after: float) -> None:
    metrics, weights = chosen(shard(after))
    assert weights is None
    assert (metrics["personal"], metrics["kept"]) == (after, 0)
    assert metrics["test_personal"] > metrics["test_federated"]


@pytest.mark.parametrize("split", ["train", "val"])
def test_an_envoy_without_clips_keeps_the_federated_model_and_says_so(
    split: str, caplog: pytest.LogCaptureFixture
) -> None:
    data = shard(after=1.0, **{split: []})
    with caplog.at_level("INFO"):
        assert chosen(data) == ({"clips": 0, "kept": 0}, None)
    assert f"The federated model stays: there are no clips here in the split {split}" in caplog.text
    assert data["rounds"] == []


def test_without_test_clips_validation_decides_all_the_same() -> None:
    metrics, weights = chosen(shard(after=0.75, test=[]))
    assert weights is not None
    assert metrics == {"clips": 8, "federated": 0.5, "personal": 0.75, "kept": 1}


# With an aggregator ------------------------------------------------------------------------------------


class WeighedLine(AggregatorConnection):
    """Notes the bytes of each upload."""

    def __init__(self, port: int) -> None:
        super().__init__(client_to(port, EXPERIMENT_ID), "env_one")
        self.uploads: list[tuple[str, int]] = []
        stub: Any = self._stub
        send = stub.SendLocalTaskResults

        def weigh(pieces: Iterator[bytes]) -> Any:
            sent = list(pieces)
            head = aggregator_pb2.TaskResults.FromString(sent[0])
            self.uploads.append((head.task_name, sum(map(len, sent))))
            return send(iter(sent))

        stub.SendLocalTaskResults = weigh


@pytest.fixture
def served(tmp_path: Path, openfl_put_back: None) -> Iterator[tuple[Aggregator, int]]:
    folder = new_state_folder(tmp_path / "state", WEIGHTS)
    aggregator = aggregator_on(folder, ["env_one"], rounds=1, personalise=True)
    with serving(aggregator) as port:
        yield aggregator, port


def test_the_best_model_is_personalised_after_all_rounds_and_numbers_alone_travel(
    served: tuple[Aggregator, int],
) -> None:
    aggregator, port = served
    line = WeighedLine(port)
    kept: list[Vector] = []
    data = shard(1.0, accuracy={0.0: 0.5, 1.0: 0.75, 2.0: 1.0})
    make_collaborator("env_one", experiment(rounds=1), data, line, "cpu", kept.append).run()
    assert aggregator.failure is None
    assert [name for name, _ in line.uploads] == [
        *("validate", "test_initial", "train", "validate", "test_best", "personalise")
    ]
    sizes = dict(line.uploads)
    assert sizes["train"] > 4 * WEIGHTS > 1000 > sizes["personalise"]
    assert [weights.tolist() for weights in kept] == [[2.0] * WEIGHTS]
    assert data["rounds"] == [0, 1]
    assert aggregator.state.best.read().tolist() == aggregator.state.last.read().tolist() == [1.0] * WEIGHTS
    records = {
        record["metric_name"]: record["metric_value"]
        for record in aggregator.records
        if (record["task_name"], record["metric_origin"]) == ("personalise", "env_one")
    }
    assert records.pop("seconds") >= 0
    assert records == {
        "clips": 8.0,
        "federated": 0.75,
        "personal": 1.0,
        "kept": 1.0,
        "test_clips": 4.0,
        "test_federated": 0.25,
        "test_personal": 0.5,
    }
    pooled = [r for r in aggregator.records if r["metric_origin"] == "aggregator"]
    assert not any(record["task_name"] == "personalise" for record in pooled)


# As an ordinary model ----------------------------------------------------------------------------------


@pytest.mark.parametrize("tuning", [Settings().tuning, Lora(rank=2)], ids=["full", "lora"])
def test_a_personal_model_becomes_an_ordinary_one(tuning: Any, tmp_path: Path) -> None:
    spec = ModelSpec("tiny", SUPERB_LABELS, tuning=tuning)
    model = spec.build()
    weights = pack(model) + np.float32(0.01)
    unpack(weights, model)
    own = Experiment(Settings(tuning=tuning), spec.to_dict(), SMALLEST, ARGUMENTS)
    save_pretrained(own, weights, tmp_path / "own")
    clip = torch.from_numpy(np.random.default_rng(0).normal(0, 1, (1, 8_000)).astype(np.float32))
    loaded = load_classifier(tmp_path / "own").model
    with torch.inference_mode():
        assert torch.allclose(loaded(clip).logits, model(clip).logits, atol=1e-4)


def test_a_model_that_only_its_tasks_can_build_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a model of its own, which only its tasks can build"):
        save_pretrained(experiment(), np.zeros(WEIGHTS, np.float32), tmp_path)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    own = Experiment(Settings(), MODEL, SMALLEST, ARGUMENTS)
    with pytest.raises(ValueError, match=r"packed weights have shape \(3,\)"):
        save_pretrained(own, np.zeros(3, np.float32), tmp_path)
    assert not list(tmp_path.iterdir())
