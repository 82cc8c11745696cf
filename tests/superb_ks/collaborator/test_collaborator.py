"""A collaborator does an experiment's tasks for a real aggregator, which is served on the loopback.

The tasks tell by their metrics which weights they saw.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from superb_ks.aggregator.aggregator import Aggregator
from superb_ks.collaborator.aggregator_client import AggregatorConnection, AggregatorUnreachable
from superb_ks.collaborator.collaborator import Collaborator, make_collaborator
from superb_ks.collaborator.tasks import Tasks
from superb_ks.experiment import Experiment
from superb_ks.model.packing import trainable_layout
from superb_ks.model.spec import ModelMismatch, ModelSpec
from superb_ks.settings import SUPERB_LABELS, Settings
from tests.support.aggregator import EXPERIMENT_ID, aggregator_on, new_state_folder
from tests.support.experiments import ARGUMENTS
from tests.support.experiments import TASKS as SMALLEST
from tests.support.served_aggregator import client_to, serving

ONE, TWO = "env_one", "env_two"
WEIGHTS = 3


def nothing_to_keep(weights: Any) -> None:
    raise AssertionError("no experiment here personalises")


TASKS = """\
import torch
from torch import nn

def build_model():
    return nn.Linear(3, 1, bias=False)

def open_shard(shard_descriptor):
    return [shard_descriptor] * 5

def train(model, shard, device, optimizer):
    with torch.no_grad():
        model.weight += 1
    return {"clips": len(shard)}

def validate(model, shard, device):
    seen = model.weight.flatten().tolist()
    spoil(model)
    return {"accuracy": 0.5, "first": seen[0], "last": seen[2], "clips": len(shard)}

test = validate
"""


# What validation and test make of the model.
LEAVE = "def spoil(model): pass"
CHANGE = "def spoil(model):\n    with torch.no_grad():\n        model.weight += 10"
CHANGE_UNNOTICED = "def spoil(model): model.weight.data += 10  # PyTorch does not count it as a change"


def experiment(tasks: str = TASKS, spoil: str = LEAVE, **changes: Any) -> Experiment:
    own: dict[str, Any] = {"model": "build_model", "shard": "open_shard", **changes}
    return Experiment(Settings(), tasks=f"{tasks}\n{spoil}\n", arguments=ARGUMENTS, **own)


@pytest.fixture
def served(tmp_path: Path, openfl_put_back: None) -> Iterator[tuple[Aggregator, int]]:
    """An aggregator with one collaborator and two rounds, and its port."""
    aggregator = aggregator_on(new_state_folder(tmp_path / "state", WEIGHTS), [ONE], 2)
    with serving(aggregator) as port:
        yield aggregator, port


def line_to(port: int, name: str = ONE, shown: str = EXPERIMENT_ID) -> AggregatorConnection:
    return AggregatorConnection(client_to(port, shown), name, patience_seconds=5)


def collaborator_on(port: int, wanted: Experiment, line: AggregatorConnection | None = None) -> Collaborator:
    return make_collaborator(ONE, wanted, "my shard", line or line_to(port), "cpu", nothing_to_keep)


def reported(aggregator: Aggregator, task: str, metric: str) -> list[float]:
    """What the collaborator reported, round by round."""
    return [
        record["metric_value"]
        for record in aggregator.records
        if (record["metric_origin"], record["task_name"], record["metric_name"]) == (ONE, task, metric)
    ]


@pytest.mark.parametrize("spoil", [LEAVE, CHANGE, CHANGE_UNNOTICED], ids=["left", "changed", "unnoticed"])
def test_a_task_that_changes_the_model_changes_it_only_for_itself(
    served: tuple[Aggregator, int], spoil: str
) -> None:
    aggregator, port = served
    collaborator_on(port, experiment(spoil=spoil)).run()
    assert aggregator.failure is None
    assert aggregator.is_over
    assert aggregator.state.last.read().tolist() == [2.0] * WEIGHTS
    assert reported(aggregator, "validate", "first") == [0.0, 1.0, 2.0]
    assert reported(aggregator, "validate", "last") == [0.0, 1.0, 2.0]
    assert reported(aggregator, "test_initial", "first") == [0.0]
    assert reported(aggregator, "test_best", "first") == [0.0]  # the first of three equally good ones
    assert reported(aggregator, "train", "clips") == [5, 5]
    assert all(0 <= seconds < 60 for seconds in reported(aggregator, "train", "seconds"))
    assert aggregator.quit_job_sent_to == [ONE]


class CountingLine(AggregatorConnection):
    """Counts how often it fetched a model."""

    fetched = 0

    def fetch(self, *wanted: Any) -> None:
        """Fetch a model."""
        self.fetched += 1
        super().fetch(*wanted)


def test_tasks_that_change_no_weight_share_one_fetch(served: tuple[Aggregator, int]) -> None:
    aggregator, port = served
    line = CountingLine(client_to(port, EXPERIMENT_ID), ONE)
    collaborator_on(port, experiment(), line).run()
    assert line.fetched == 4  # validate, test and train of round 0; those of round 1; the last and the best
    assert aggregator.failure is None


def test_after_a_task_that_changed_one_the_model_is_fetched_again(served: tuple[Aggregator, int]) -> None:
    aggregator, port = served
    line = CountingLine(client_to(port, EXPERIMENT_ID), ONE)
    collaborator_on(port, experiment(spoil=CHANGE_UNNOTICED), line).run()
    assert line.fetched == 7  # for each of the seven tasks
    assert aggregator.failure is None


def test_a_task_without_clips_is_named(served: tuple[Aggregator, int]) -> None:
    tasks = TASKS.replace(', "clips": len(shard)}', "}")
    with pytest.raises(ValueError, match="^the task validate returned no 'clips': how many it worked on$"):
        collaborator_on(served[1], experiment(tasks)).run()


def test_what_a_task_raises_reaches_the_caller(served: tuple[Aggregator, int]) -> None:
    tasks = TASKS.replace("model.weight += 1", "raise ArithmeticError('no luck')")
    with pytest.raises(ArithmeticError, match="no luck"):
        collaborator_on(served[1], experiment(tasks)).run()
    assert reported(served[0], "train", "clips") == []


def test_frozen_weights_stay_where_they_are(served: tuple[Aggregator, int]) -> None:
    """The model has six weights here, of which three are trained and travel."""
    tasks = TASKS.replace(
        "return nn.Linear(3, 1, bias=False)",
        "model = nn.Linear(3, 1, bias=False)\n"
        "    model.frozen = nn.Parameter(torch.full((3,), 7.0), requires_grad=False)\n"
        "    return model",
    ).replace('"accuracy": 0.5', '"accuracy": 0.5, "frozen": float(model.frozen.sum())')
    collaborator_on(served[1], experiment(tasks)).run()
    assert served[0].failure is None
    assert reported(served[0], "validate", "frozen") == [21.0] * 3


def test_another_experiment_in_the_aggregators_place_ends_the_work_without_an_error(
    served: tuple[Aggregator, int], caplog: pytest.LogCaptureFixture
) -> None:
    aggregator, port = served
    collaborator_on(port, experiment(), line_to(port, shown="an earlier one")).run()
    assert f"{ONE}: another experiment has begun" in caplog.text
    assert aggregator.records == []


def test_a_name_that_is_not_enrolled_is_refused(served: tuple[Aggregator, int]) -> None:
    line = line_to(served[1], TWO)
    with pytest.raises(AggregatorUnreachable, match="^the aggregator refused: "):
        make_collaborator(TWO, experiment(), "my shard", line, "cpu", nothing_to_keep).run()


class PoisonedLine(AggregatorConnection):
    """Spoils one weight on its way."""

    def fetch(self, into: Any, *wanted: Any) -> None:
        """Fetch a model."""
        super().fetch(into, *wanted)
        into[1] = np.nan


def test_no_task_works_on_a_model_that_is_not_finite(served: tuple[Aggregator, int]) -> None:
    aggregator, port = served
    with pytest.raises(ValueError, match="hold infinite or undefined values, the first in 'weight'"):
        collaborator_on(port, experiment(), PoisonedLine(client_to(port, EXPERIMENT_ID), ONE)).run()
    assert aggregator.records == []


# Made of an experiment ---------------------------------------------------------------------------------


SCRATCH = ModelSpec("scratch", SUPERB_LABELS)
NO_LINE: Any = None  # nothing is asked of the aggregator before `run`


class Descriptor:
    """A shard descriptor with the same clips in every split."""

    def __init__(self, clips: Any) -> None:
        self.clips = clips

    def get_dataset(self, split: str) -> Any:
        """Return the clips."""
        return self.clips


def test_a_specification_gives_the_model_and_a_shard_with_three_splits(tone_clips: Any) -> None:
    wanted = experiment(SMALLEST, model=SCRATCH.sealed().to_dict(), shard=None)
    made = make_collaborator(ONE, wanted, Descriptor(tone_clips([900] * 4)), NO_LINE, "cpu", nothing_to_keep)
    assert trainable_layout(made._network) == trainable_layout(SCRATCH.build())
    assert {split: len(clips) for split, clips in made._shard.items()} == {"train": 4, "val": 4, "test": 4}
    assert made._shard["val"][0]["labels"] == 0


def test_a_specification_goes_with_a_shard_of_ones_own() -> None:
    tasks = SMALLEST + "\n\ndef open_shard(shard_descriptor):\n    return {'own': shard_descriptor}\n"
    wanted = experiment(tasks, model=SCRATCH.to_dict())
    assert make_collaborator(ONE, wanted, "descriptor", NO_LINE, "cpu", nothing_to_keep)._shard == {
        "own": "descriptor"
    }


def test_a_model_of_ones_own_needs_a_shard_of_ones_own() -> None:
    with pytest.raises(ValueError, match="its own model needs its own function that opens a shard"):
        make_collaborator(ONE, experiment(shard=None), "descriptor", NO_LINE, "cpu", nothing_to_keep)


def test_a_node_that_builds_another_model_than_the_author_refuses() -> None:
    sealed = ModelSpec("scratch", SUPERB_LABELS[:11]).sealed()
    wanted = experiment(SMALLEST, model={**SCRATCH.to_dict(), "digest": sealed.digest}, shard=None)
    with pytest.raises(ModelMismatch, match="trainable layers differ"):
        make_collaborator(ONE, wanted, Descriptor([]), NO_LINE, "cpu", nothing_to_keep)


def test_a_specification_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="^a model's specification has "):
        make_collaborator(
            ONE, experiment(SMALLEST, model={"name": "tiny"}, shard=None), "", NO_LINE, "cpu", nothing_to_keep
        )


def test_a_models_weights_lie_where_models_are_received() -> None:
    """No copy of the model is made: what is fetched is what the tasks work on."""
    model = nn.Linear(3, 1, bias=False)
    tasks = Tasks(experiment())
    made = Collaborator(ONE, tasks=tasks, model=model, shard=None, aggregator=NO_LINE, keep=nothing_to_keep)
    made._model.vector[:] = [1.0, 2.0, 3.0]
    assert torch.equal(model.weight.detach(), torch.tensor([[1.0, 2.0, 3.0]]))
