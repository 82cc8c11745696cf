"""Tasks as source: what a notebook's functions use is written with them, or refused by name."""

from __future__ import annotations

import dataclasses
import functools
import linecache
import math
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import numpy as np
import pytest
import torch
from openfl.interface.interactive_api.experiment import TaskInterface
from torch import nn
from torch.nn.functional import relu as rectified

from superb_ks.collaborator.tasks import load_tasks
from superb_ks.settings import Addresses, Recipe, Settings
from superb_notebook.task_source import CannotTravel, task_functions, write_tasks

WORKSPACE = Path(__file__).resolve().parents[3] / "workspace"
CLASSES = ("yes", "no")
TABLE = {"a": [1, 2.5, None], "b": (True,), "c": {"x"}, "d": b"\0"}
HALF = functools.partial(math.pow, 0.5)
SETTINGS = Settings(recipe=Recipe(epochs_per_round=2), addresses=Addresses(director_port=4711))


def helper(x: float) -> float:
    return math.sqrt(x) + other(x)


def other(x: float) -> float:
    return helper(x - 1) if x > 1 else 0.0


@dataclasses.dataclass(frozen=True)
class Options:
    """Some options."""

    rate: float = 0.1
    names: tuple[str, ...] = CLASSES
    inner: Options | None = None


OPTIONS = Options(rate=0.2, inner=Options())


class Net(nn.Linear):
    """A layer."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return rectified(super().forward(x))


def rewritten(function: Callable[..., Any]) -> Any:
    """Return the same function, of the module that was written for it."""
    return getattr(load_tasks(write_tasks([function])), function.__name__)


def test_functions_that_call_each_other_go_along() -> None:
    assert rewritten(helper)(3.0) == helper(3.0)


def test_constants_classes_and_imports_go_along() -> None:
    def task() -> Any:
        net = Net(2, 2, bias=False)
        return (
            CLASSES,
            TABLE,
            OPTIONS.rate,
            OPTIONS.inner.names,
            np.ones(2).sum(),
            net(torch.zeros(1, 2)).sum(),
        )

    written = write_tasks([task])
    assert "import numpy as np" in written and "from torch import nn" in written
    assert "from torch.nn.functional import relu as rectified" in written
    *plain, zero = rewritten(task)()
    assert plain == [CLASSES, TABLE, 0.2, CLASSES, 2.0] and zero == 0


def test_settings_lose_what_is_the_notebooks_own() -> None:
    def task() -> Any:
        return SETTINGS

    assert rewritten(task)() == SETTINGS.for_nodes() != SETTINGS
    assert "4711" not in write_tasks([task])


def test_variables_around_a_function_go_along() -> None:
    scale, name = 3, "scale"

    def task(x: float) -> tuple[float, str]:
        def inner(y: float) -> float:
            return y * scale

        return sum(inner(each) for each in [x, x]), name

    assert rewritten(task)(2) == (12, "scale")


def test_comments_defaults_and_keyword_arguments_stay() -> None:
    def task(x, *, steps=CLASSES):
        # what the owner reads
        return x * len(steps)

    assert "# what the owner reads" in write_tasks([task])
    assert rewritten(task)(2) == 4


OPEN = [1].__iter__()
MODEL = nn.Linear(1, 1)
ONE_LINE = lambda x: x  # noqa: E731
ARRAY = np.zeros(3)
NOT_FINITE = float("nan")
LOCAL = types.ModuleType("my_helpers")


def uses(name: str) -> Callable[[], Any]:
    """Return a function that uses a global of this module."""
    namespace: dict[str, Any] = {}
    file = Path(__file__).with_name(f"_{name}.py")
    source = f"def task():\n    return {name}\n"
    import linecache

    linecache.cache[str(file)] = (len(source), None, source.splitlines(keepends=True), str(file))
    exec(compile(source, str(file), "exec"), globals(), namespace)
    return namespace["task"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("OPEN", "task uses 'OPEN', a list_iterator, which cannot be written as text; legal: functions"),
        ("MODEL", "task uses 'MODEL', a Linear"),
        ("ARRAY", "task uses 'ARRAY', a ndarray"),
        ("HALF", "task uses 'HALF', a partial"),
        ("NOT_FINITE", "task uses 'NOT_FINITE', a float"),
        ("ONE_LINE", "ONE_LINE cannot be written as text: a lambda has no name to be found by"),
        ("LOCAL", "task uses the module my_helpers, which the envoys do not have"),
        ("NOWHERE", "task uses 'NOWHERE', which is not defined"),
    ],
)
def test_what_cannot_be_written_is_named(name: str, told: str) -> None:
    with pytest.raises(CannotTravel, match=told):
        write_tasks([uses(name)])


def test_two_meanings_of_a_name_are_refused() -> None:
    def with_value(value: int) -> Callable[[], int]:
        def task() -> int:
            return value

        return task

    first, second = with_value(1), with_value(2)
    second.__name__ = "task_two"
    with pytest.raises(CannotTravel, match="task_two uses another 'value' than a task before it"):
        write_tasks([first, second])


def test_code_without_a_source_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    of_another = ["import sys\n", "print(sys.argv)\n"]  # as Python 3.13 keeps what `python -c` was given
    monkeypatch.setitem(linecache.cache, "<string>", (len("".join(of_another)), None, of_another, "<string>"))
    namespace: dict[str, Any] = {}
    exec("def task():\n    return 1\n", namespace)
    with pytest.raises(CannotTravel, match="task cannot be written as text: Python has no source of it"):
        write_tasks([namespace["task"]])


def test_settings_of_openfls_add_kwargs_are_refused() -> None:
    tasks = TaskInterface()

    @tasks.register_fl_task(model="model", data_loader="shard", device="device")
    @tasks.add_kwargs(batch_size=8)
    def validate(model, shard, device, batch_size):
        return {}

    with pytest.raises(CannotTravel, match="validate has add_kwargs.batch_size.; set the values in the task"):
        task_functions(tasks)


CELLS = (
    f"import sys; sys.path[:0] = [{str(WORKSPACE)!r}]\n"
    "from openfl.interface.interactive_api.experiment import TaskInterface\n"
    "from superb_notebook.task_source import task_functions, write_tasks\n"
    "import torch\n"
    "tasks = TaskInterface()\n"
    "def text(): return write_tasks(list(task_functions(tasks).values()))",
    "class Net(torch.nn.Module):\n    width = 1",
    "%time\nFACTOR = 2",
    "@tasks.register_fl_task(model='model', data_loader='shard', device='device')\n"
    "def validate(model, shard, device):\n    return {'accuracy': FACTOR * Net.width, 'first': 1}",
    "print(text())",
    "class Net(torch.nn.Module):\n    width = 3",
    "@tasks.register_fl_task(model='model', data_loader='shard', device='device')\n"
    "def validate(model, shard, device):\n    return {'accuracy': FACTOR * Net.width, 'second': 1}",
    "FACTOR = 5\nprint(text())",
)


def test_of_cells_that_were_run_again_the_newest_counts() -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    first, second = (notebook.cells[number].outputs[0].text for number in (4, 7))
    assert "FACTOR = 2" in first and "width = 1" in first and "'first'" in first
    assert "FACTOR = 5" in second and "width = 3" in second and "'second'" in second
    assert "register_fl_task" not in second and "'first'" not in second


def test_a_prompt_gets_one_clear_line_where_python_keeps_no_source() -> None:
    """Since 3.13 it keeps what was typed, and the task is written."""
    source = (
        f"import sys; sys.path[:0] = [{str(WORKSPACE)!r}]\n"
        "from superb_notebook.task_source import write_tasks\n"
        "def task():\n    return 1\n\n"
        "print(write_tasks([task]))\n"
    )
    result = subprocess.run(
        [sys.executable, "-i", "-q"], input=source, capture_output=True, text=True, timeout=120, check=False
    )
    if sys.version_info >= (3, 13):
        assert "def task():\n    return 1\n" in result.stdout
    else:
        assert "task cannot be written as text: Python has no source of it" in result.stderr
