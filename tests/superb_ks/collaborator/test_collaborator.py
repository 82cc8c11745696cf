"""A collaborator gives every task the round's model, whatever the task before made of it."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pytest
import torch
from openfl.utilities import TensorKey
from superb_ks.collaborator.openfl_adapter import PackedAdapter
from torch import nn

from superb_ks.collaborator.collaborator import PackedCollaborator

ROUND_MODEL = [1.0, 2.0, 3.0]


class Runner:
    """Takes the place of OpenFL's task runner: loads what it is given, calls a task, packs after training."""

    def __init__(self, tasks: dict[str, Any]) -> None:
        self.model = nn.Linear(3, 1, bias=False)
        self.framework_adapter = PackedAdapter()
        self.TASK_REGISTRY = {name: self._calling(name, task) for name, task in tasks.items()}

    def set_optimizer_treatment(self, treatment: str) -> None:
        """OpenFL says what becomes of an optimizer; here each round makes its own."""

    def _calling(self, name: str, task: Any) -> Any:
        def call(input_tensor_dict: dict[str, Any], **_: Any) -> tuple[dict[Any, Any], dict[Any, Any]]:
            self.framework_adapter.set_tensor_dict(self.model, input_tensor_dict)
            task(self.model)
            if name != "train":
                return {}, {}
            packed = self.framework_adapter.get_tensor_dict(self.model)
            return {TensorKey("trained", "", 0, False, ()): packed["trained"]}, {}

        return call


class Line:
    """Takes the place of the connection; counts fetches and keeps what is delivered."""

    def __init__(self) -> None:
        self.fetched = 0
        self.delivered: list[list[float]] = []

    def fetch(self, into: np.ndarray, round_number: int, tags: tuple[str, ...]) -> None:
        self.fetched += 1
        into[:] = ROUND_MODEL

    def deliver(self, round_number: int, name: str, clips: int, metrics: Any, update: Any) -> None:
        if update is not None:
            self.delivered.append(update.tolist())


def collaborator_with(**tasks: Any) -> tuple[PackedCollaborator, Line]:
    runner = Runner(tasks)
    client = SimpleNamespace(
        channel=grpc.insecure_channel("localhost:1"),  # of which nothing is asked
        header=None,
        federation_uuid="id",
        _set_header=lambda name: None,
    )
    collaborator = PackedCollaborator(
        collaborator_name="env_one",
        aggregator_uuid="aggregator",
        federation_uuid="id",
        client=client,
        task_runner=runner,
        task_config={},
        device_assignment_policy="CPU_ONLY",
    )
    line = Line()
    collaborator._aggregator = line  # type: ignore[assignment]  # stands in for the connection
    collaborator._default_clips = lambda task: 1  # type: ignore[method-assign]  # there is no data set
    return collaborator, line


def task(name: str) -> Any:
    return SimpleNamespace(
        name=name, function_name=name, task_type="train" if name == "train" else "validate"
    )


def add_ten(model: nn.Linear) -> None:
    with torch.no_grad():
        model.weight += 10


def add_ten_unnoticed(model: nn.Linear) -> None:
    model.weight.data += 10  # PyTorch does not count it as a change


@pytest.mark.parametrize("change", [add_ten, add_ten_unnoticed])
def test_a_task_that_changes_the_model_changes_it_only_for_itself(change: Callable[..., None]) -> None:
    seen: list[list[float]] = []

    def validate(model: nn.Linear) -> None:
        seen.append(model.weight.flatten().tolist())
        change(model)

    collaborator, line = collaborator_with(validate=validate, test=validate, train=change)
    for name in ("validate", "test", "train"):
        collaborator.do_task(task(name), 0)
    assert seen == [ROUND_MODEL, ROUND_MODEL]
    assert line.delivered == [[11.0, 12.0, 13.0]]


def test_tasks_that_do_not_change_the_model_share_one_fetch() -> None:
    collaborator, line = collaborator_with(validate=lambda model: None, train=add_ten)
    collaborator.do_task(task("validate"), 0)
    collaborator.do_task(task("train"), 0)
    assert line.fetched == 1
    collaborator.do_task(task("validate"), 0)
    assert line.fetched == 2
