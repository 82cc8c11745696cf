"""The backends that records can be written to, and what each needs. Imports none of them.

To add one, write a file with its kind of `Run`, and its line here.
"""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from superb_node.errors import ToldError

if TYPE_CHECKING:  # `make demo` reads this file without numpy
    from superb_notebook.tracking.points import Note, Point


TRACK, RUN_DIR = "SUPERB_TRACK", "SUPERB_RUN_DIR"
"""Variables with the backends and the run's folder, where a notebook names none; `make demo` sets them."""


class TrackingError(ToldError):
    """Records cannot be written as it was asked; the message is one line that says what to do."""


class About(NamedTuple):
    """What a run is of.

    Attributes:
        name: of the experiment.
        settings: of the experiment, nested ones by dotted names; empty if they are not known.
        folder: the run's, for backends that write files.
    """

    name: str
    settings: dict[str, Any]
    folder: Path


class Run(Protocol):
    """One experiment in one backend, begun when it is made."""

    def __init__(self, about: About) -> None: ...

    def write(self, points: list[Point], notes: list[Note]) -> None:
        """Write what has come in since the last call."""

    def close(self, outcome: str) -> None:
        """Write that there is no more: the experiment "finished", "failed" or was "stopped", or is
        "no longer watched".
        """


class Backend(NamedTuple):
    """One backend: file and class of its `Run`, the library that it imports, and what pip calls that."""

    module: str
    kind: str
    library: str
    package: str


BACKENDS = {
    "tensorboard": Backend("tensorboard_run", "TensorBoardRun", "tensorboardX", "tensorboardX"),
    "mlflow": Backend("mlflow_run", "MlflowRun", "mlflow", "mlflow-skinny"),
    "wandb": Backend("wandb_run", "WandbRun", "wandb", "wandb"),
}
"""All backends by the names that `track=` and `make demo TRACK=` take."""


def backends_of(track: str, name_of_it: str = "track") -> list[str]:
    """Return the names in a text such as "tensorboard,mlflow"; none of an empty one.

    Args:
        track: the text.
        name_of_it: what an error calls it.

    Raises:
        TrackingError: there is no such backend, or its library is not installed.
    """
    names = list(dict.fromkeys(name.strip() for name in track.split(","))) if track.strip() else []
    for name in names:
        if name not in BACKENDS:
            legal = ", ".join(BACKENDS)
            raise TrackingError(
                f"{name_of_it}={track}: legal values are {legal}, or several of them with commas"
            )
        if find_spec(BACKENDS[name].library) is None:
            command = f"{sys.executable} -m pip install {BACKENDS[name].package}"
            raise TrackingError(f"{name_of_it}={track}: {BACKENDS[name].library} is not installed; {command}")
    return names


def open_run(name: str, about: About) -> Run:
    """Import one backend and begin a run there.

    Raises:
        TrackingError: the backend cannot, for example because its server does not answer.
    """
    backend = BACKENDS[name]
    try:
        module = importlib.import_module(f"superb_notebook.tracking.{backend.module}")
        run: Run = getattr(module, backend.kind)(about)
    except Exception as error:  # each library has its own
        first_line = str(error).strip().partition("\n")[0] or type(error).__name__
        raise TrackingError(f"{name} cannot begin a run: {first_line}") from error
    return run
