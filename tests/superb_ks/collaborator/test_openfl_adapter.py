"""OpenFL's task runner asks for weights when there is a task, not before; without the correction it does."""

from __future__ import annotations

from typing import Any

import pytest
from openfl.federated.task.task_runner import CoreTaskRunner
from torch import nn

from superb_ks.collaborator.openfl_adapter import PackedAdapter, correct_task_runner


class Counting:
    """An adapter that counts how often it is asked for weights."""

    def __init__(self) -> None:
        self.asked = 0

    def get_tensor_dict(self, *_: Any) -> dict[str, Any]:
        self.asked += 1
        return {}


class CountingPacked(Counting, PackedAdapter):
    """The same, of the kind whose weights need no names."""


def times_asked(adapter: Any) -> int:
    runner = CoreTaskRunner()
    runner.model = nn.Linear(1, 1)
    runner.set_framework_adapter(adapter)
    return adapter.asked


@pytest.mark.parametrize("imports", [1, 2])
def test_a_packed_model_is_not_fetched_to_note_its_name(imports: int) -> None:
    for _ in range(imports):  # as in a process that takes part in several experiments
        correct_task_runner(PackedAdapter)
    assert times_asked(CountingPacked()) == 0
    assert times_asked(Counting()) == 1  # others are left as OpenFL has them
    original = CoreTaskRunner.initialize_tensorkeys_for_functions.__wrapped__
    assert not hasattr(original, "__wrapped__")


def test_openfl_itself_does(monkeypatch: pytest.MonkeyPatch) -> None:
    original = CoreTaskRunner.initialize_tensorkeys_for_functions.__wrapped__
    monkeypatch.setattr(CoreTaskRunner, "initialize_tensorkeys_for_functions", original)
    assert times_asked(CountingPacked()) == 1
