"""An experiment's tasks as functions: made of their source, called by OpenFL's contract."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from superb_ks.experiment import Experiment

MODULE, FILE = "experiment_tasks", "<tasks of the experiment>"


def load_tasks(source: str) -> ModuleType:
    """Run the source of an experiment's tasks; returns the module that it makes.

    Raises:
        Exception: whatever the source raises.
    """
    module = ModuleType(MODULE)
    sys.modules[MODULE] = module  # where dataclasses look for the module of a class
    # So that a traceback shows the lines.
    linecache.cache[FILE] = (len(source), None, source.splitlines(keepends=True), FILE)
    exec(compile(source, FILE, "exec", dont_inherit=True), vars(module))
    return module


class Tasks:
    """The functions of one experiment.

    Args:
        experiment: its tasks are run here.

    Raises:
        ValueError: the source defines no function of a name that the experiment gives.
    """

    def __init__(self, experiment: Experiment) -> None:
        self._arguments = experiment.arguments
        self._module = load_tasks(experiment.tasks)
        own = [name for name in (experiment.model, experiment.shard) if isinstance(name, str)]
        for name in (*experiment.arguments, *own):
            self.function(name)

    def function(self, name: str) -> Callable[..., Any]:
        """Return a function by its name.

        Raises:
            ValueError: there is none.
        """
        found = getattr(self._module, name, None)
        if not callable(found):
            raise ValueError(f"the experiment's tasks define no function {name!r}")
        return found

    def trains(self, name: str) -> bool:
        """Return whether a task changes the model: it takes an optimizer, by OpenFL's contract."""
        return "optimizer" in self._arguments[name]

    def run(self, name: str, *, model: Any, shard: Any, device: str, round_number: int) -> dict[str, Any]:
        """Call a task; the optimizer is None, as the tasks make their own in each round."""
        given = {
            "model": model,
            "data_loader": shard,
            "device": device,
            "optimizer": None,
            "round_num": round_number,
        }
        named = {argument: given[entity] for entity, argument in self._arguments[name].items()}
        return dict(self.function(name)(**named))
