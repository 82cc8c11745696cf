"""A run of Weights & Biases, by its own client; with WANDB_MODE=offline it is files only."""

from __future__ import annotations

import os
from itertools import groupby

import wandb

from superb_notebook.tracking.backends import About
from superb_notebook.tracking.points import Note, Point


class WandbRun:
    """Writes to the account of `wandb login`, or into the run's `wandb/`; a new run for each watching."""

    def __init__(self, about: About) -> None:
        about.folder.mkdir(parents=True, exist_ok=True)
        # The records and nothing else: neither what is printed, nor the state of the folder's git.
        settings = wandb.Settings(silent=True, console="off", disable_git=True, disable_code=True)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "superb-ks"),
            name=about.name,
            dir=os.environ.get("WANDB_DIR", str(about.folder.resolve())),
            config=about.settings,
            settings=settings,
            reinit="create_new",
        )
        self._run.define_metric("*", step_metric="round")
        self._events = ""

    def write(self, points: list[Point], notes: list[Note]) -> None:
        """Write what has come in."""
        for step, of_step in groupby(points, key=lambda point: point.step):
            self._run.log({"round": step, **{point.name: point.value for point in of_step}})
        if notes:
            self._events += "".join(f"round {step}: {text}\n" for step, text in notes)
            self._run.summary["events"] = self._events

    def close(self, outcome: str) -> None:
        """Write how it ended."""
        self._run.summary["outcome"] = outcome
        self._run.finish(exit_code=int(outcome != "finished"))
