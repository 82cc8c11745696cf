"""Tasks are made of their source, and get what they ask for under the names that they gave."""

from __future__ import annotations

import json
import traceback
from typing import Any

import pytest

from superb_ks.collaborator.tasks import Tasks, load_tasks
from superb_ks.experiment import Experiment
from tests.support.experiments import TASKS, changed_text


def experiment(tasks: str, **changes: Any) -> Experiment:
    return Experiment.read(changed_text(tasks=tasks, **changes))


def test_a_module_of_its_own_has_its_classes_constants_and_imports() -> None:
    module = load_tasks(
        "from __future__ import annotations\n"
        "import math\n"
        "from dataclasses import dataclass, field\n"
        "@dataclass(frozen=True)\n"
        "class Choice:\n"
        "    factor: float = 2.0\n"
        "    names: list[Unknown] = field(default_factory=list)\n"
        "choice = Choice(factor=3.0)\n"
        "def product() -> Unknown:\n"
        "    return math.floor(choice.factor) * 7\n"
    )
    assert module.product() == 21
    assert repr(module.choice) == "Choice(factor=3.0, names=[])"


def test_the_source_is_compiled_as_it_stands() -> None:
    """This module's own `from __future__ import annotations` does not count for it."""
    assert load_tasks("def train(model: 1 + 1): pass").train.__annotations__ == {"model": 2}


def test_two_experiments_in_one_process_do_not_share_names() -> None:
    first, second = (load_tasks(f"scale = {scale}\ndef scaled(): return scale") for scale in (2, 3))
    assert (first.scaled(), second.scaled()) == (2, 3)


def test_the_traceback_of_a_task_shows_its_lines() -> None:
    tasks = TASKS.replace('return {"clips": 1}', 'raise ArithmeticError("no luck")  # in the fourth round')
    with pytest.raises(ArithmeticError) as failed:
        Tasks(experiment(tasks)).run("train", model=None, shard=None, device="cpu", round_number=0)
    told = "".join(traceback.format_exception(failed.value))
    assert 'File "<tasks of the experiment>", line 2, in train' in told
    assert 'raise ArithmeticError("no luck")  # in the fourth round' in told


ECHO = """\
def train(**given): return {**given, "clips": 1}
def validate(**given): return {**given, "clips": 1}
def test(**given): return {**given, "clips": 1}
"""


def test_a_task_gets_what_it_asks_for_under_its_own_names_and_no_more() -> None:
    arguments = {
        "train": {"model": "net", "data_loader": "clips_of_mine", "optimizer": "opt", "round_num": "number"},
        "validate": {"device": "where"},
        "test": {},
    }
    tasks = Tasks(experiment(ECHO, arguments=arguments))
    given: dict[str, Any] = {"model": "m", "shard": "s", "device": "cpu", "round_number": 4}
    asked = {name: tasks.run(name, **given) for name in arguments}
    assert asked == {
        "train": {"net": "m", "clips_of_mine": "s", "opt": None, "number": 4, "clips": 1},
        "validate": {"where": "cpu", "clips": 1},
        "test": {"clips": 1},
    }
    assert [tasks.trains(name) for name in arguments] == [True, False, False]


@pytest.mark.parametrize("missing", ["train", "validate", "test", "build_model", "open_shard"])
def test_a_function_that_is_not_there_is_named_before_any_task_runs(missing: str) -> None:
    whole = f"{ECHO}def build_model(): pass\ndef open_shard(descriptor): pass\n"
    own = {"model": "build_model", "shard": "open_shard"}
    Tasks(experiment(whole, **own))
    with pytest.raises(ValueError, match=f"^the experiment's tasks define no function '{missing}'$"):
        Tasks(experiment(whole.replace(f"def {missing}(", "def another("), **own))
    with pytest.raises(ValueError, match=f"^the experiment's tasks define no function '{missing}'$"):
        Tasks(experiment(f"{whole}{missing} = 3\n", **own))


def test_what_a_task_returns_is_copied() -> None:
    """A task may return the same dictionary each time; what is added to it here must not come back."""
    tasks = Tasks(experiment("scores = {'clips': 1}\n" + ECHO.replace('{**given, "clips": 1}', "scores")))
    given: dict[str, Any] = {"model": None, "shard": None, "device": "cpu", "round_number": 0}
    tasks.run("train", **given).clear()
    assert tasks.run("train", **given) == {"clips": 1}


def test_the_text_that_travels_is_read_without_running_it() -> None:
    text = changed_text(tasks="raise SystemExit('it ran')\n")
    assert json.loads(text)["tasks"] == Experiment.read(text).tasks
    with pytest.raises(SystemExit, match="it ran"):
        Tasks(Experiment.read(text))
