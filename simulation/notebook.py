"""Simulations from a notebook: one call runs hundreds of clients, shows how far they are, keeps the records.

What was run once is read from `runs/simulations/` afterwards: same settings, same clients, same clips,
same code.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

from IPython.display import display

from demo.errors import DemoError
from demo.options import SYNTHETIC, archive_folders
from demo.run_folder import RunFolder
from simulation.key import key_of
from simulation.options import Options, require_flower
from simulation.process import OUTPUT, run_in_child
from simulation.progress import RunningHistory
from superb_ks.model.spec import ModelSpec
from superb_ks.run_files import CARDS, RECORDS
from superb_ks.settings import SUPERB_LABELS, Settings
from superb_notebook.experiment import ExperimentFailed, experiment_text
from superb_notebook.flower import copy_app
from superb_notebook.history import History
from superb_notebook.progress import ProgressBar
from superb_notebook.tasks import tutorial_tasks

KEPT = "simulations"
"""Folder in `runs_dir` of what was simulated, one folder each."""

ABOUT = "simulation.json"
"""What was simulated, in how many seconds."""


def simulate(
    settings: Settings,
    clients: int = 200,
    *,
    partition: str = "speaker",
    alpha: float = 0.5,
    evaluate: float = 1.0,
    data: str = SYNTHETIC,
    test_data: str = "",
) -> History:
    """Simulate the tutorial's experiment on many clients, or read what the same call has left.

    Interrupting the cell ends the simulation, and so does the end of the kernel.

    Args:
        settings: of the experiment; `fraction` is a share of the clients with training clips.
        clients: how many there are; with the partition `speaker` each has one speaker.
        partition: who has which clips, as for `make simulate`.
        alpha: skew of the partitions `dirichlet` and `quantity`; the smaller, the more.
        evaluate: share of the clients with validation clips that validate each model.
        data: "synthetic", or the folder of the training archive.
        test_data: folder of the test archive; empty: the one next to `data`.

    Returns:
        all that was recorded; its `envoys` are the clients.

    Raises:
        ValueError: a value is illegal; the message names it and what is legal.
        ExperimentFailed: Flower is not installed, a folder is missing, or the simulation failed.
    """
    try:
        require_flower()
        data_dir, test_dir = archive_folders(data, test_data)
        options = Options(
            clients=clients,
            settings=settings,
            evaluate=evaluate,
            partition=partition,
            alpha=alpha,
            data_dir=data_dir,
            test_dir=test_dir,
        )
        return _simulated(options, Path(settings.runs_dir).resolve())
    except DemoError as error:
        raise ExperimentFailed(error) from error


def _simulated(options: Options, runs: Path) -> History:
    """Run what the options describe, unless it is kept, and return the history of what is kept."""
    spec = ModelSpec.of(options.settings, SUPERB_LABELS).sealed()
    text = experiment_text(spec, tutorial_tasks(options.settings), options.settings)
    kept = runs / KEPT / key_of(options, text)
    bar = display(ProgressBar(0.0, 0, "begins"), display_id=True)
    if not (kept / ABOUT).exists():
        folder = RunFolder(runs)
        try:
            seconds = _run(options, text, folder.path, bar)
            _keep(folder.path / OUTPUT, kept, options, seconds)
        except DemoError as error:
            raise DemoError(f"{error}\nThe logs are in runs/{folder.keep_failure().name}") from error
        finally:
            folder.discard()
    return _read(kept, options.settings.rounds, bar)


def _run(options: Options, text: bytes, folder: Path, bar: Any) -> int:
    """Run an experiment, and show how far it is; returns the seconds that it took.

    Raises:
        DemoError: the simulation failed.
    """
    started = time.monotonic()

    def seconds() -> int:
        return round(time.monotonic() - started)

    def show(run: RunningHistory) -> None:
        if bar is not None:
            share = run.done / run.history.schedule.total_rounds
            bar.update(ProgressBar(share, seconds(), run.words))

    app = copy_app(folder / OUTPUT.parent / "app", text)
    speakers = options.speakers if options.data_dir is None else None
    run_in_child(options, folder, show, app, speakers)
    return seconds()


def _keep(output: Path, kept: Path, options: Options, seconds: int) -> None:
    """Move a run's records to where they are looked for: all of them are there, or none."""
    about = {"clients": options.clients, **options.run_config, "seconds": seconds}
    (output / ABOUT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    for file in output.iterdir():
        if file.name not in (RECORDS, CARDS, ABOUT):
            file.unlink()
    kept.parent.mkdir(exist_ok=True)
    shutil.rmtree(kept, ignore_errors=True)
    output.rename(kept)


def _read(kept: Path, rounds: int, bar: Any) -> History:
    """Return the history of what is kept, and show how it ended."""
    run = RunningHistory(kept, rounds)
    run.read()
    run.history.envoys = sorted(json.loads((kept / CARDS).read_text(encoding="utf-8")))
    if bar is not None:
        seconds = json.loads((kept / ABOUT).read_text(encoding="utf-8"))["seconds"]
        bar.update(ProgressBar(1.0, seconds, f"test accuracy {run.history.test}"))
    return run.history
