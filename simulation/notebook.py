"""Simulations from a notebook: one call runs hundreds of clients, shows how they learn, keeps the records.

What was run once is read from `runs/simulations/` afterwards: same settings, same clients, same clips,
same code.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from IPython.display import display

from demo.errors import DemoError
from demo.options import SYNTHETIC, archive_folders
from demo.run_folder import RunFolder
from simulation.key import envoys_config, key_of
from simulation.options import Options, require_flower
from simulation.process import OUTPUT, run_in_child
from simulation.progress import RunningHistory
from superb_ks.model.spec import ModelSpec
from superb_ks.run_files import CARDS, RECORDS
from superb_ks.settings import SUPERB_LABELS, Settings
from superb_node.errors import ConfigError
from superb_notebook.experiment import ExperimentFailed, experiment_text
from superb_notebook.flower import copy_app
from superb_notebook.history import History
from superb_notebook.plots import FIGURE_PIXELS, plot_learning, show
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
    test_data: str | None = None,
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
        test_data: folder of the test archive, or "testing_list"; None: the one next to `data`.

    Returns:
        all that was recorded; its `envoys` are the clients.

    Raises:
        ValueError: a value is illegal; the message names it and what is legal.
        ExperimentFailed: Flower or a folder is missing, the envoy's config is not legal, or the simulation
            failed.
    """
    try:
        require_flower()
        data_dir, test_dir = archive_folders(data, test_data or "")
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
    except (DemoError, ConfigError) as error:
        raise ExperimentFailed(error) from error


def _simulated(options: Options, runs: Path) -> History:
    """Run what the options describe, unless it is kept, and return the history of what is kept."""
    labels = envoys_config().descriptor_params.get("labels") or SUPERB_LABELS
    spec = ModelSpec.of(options.settings, tuple(labels)).sealed()
    text = experiment_text(spec, tutorial_tasks(options.settings), options.settings)
    kept = runs / KEPT / key_of(options, text)
    view = View()
    if not (kept / ABOUT).exists():
        folder = RunFolder(runs)
        try:
            seconds = _run(options, text, folder.path, view)
            _keep(folder.path / OUTPUT, kept, options, seconds)
        except DemoError as error:
            failed = folder.keep_failure()
            raise DemoError(f"{error}\nThe logs are in {os.path.relpath(failed)}") from error
        finally:
            folder.discard()
    return _read(kept, options.settings.rounds, view)


def _run(options: Options, text: bytes, folder: Path, view: View) -> int:
    """Run an experiment, and show how it goes; returns the seconds that it took.

    Raises:
        DemoError: the simulation failed.
    """
    started = time.monotonic()

    def seconds() -> int:
        return round(time.monotonic() - started)

    app = copy_app(folder / OUTPUT.parent / "app", text)
    speakers = options.speakers if options.data_dir is None else None
    try:
        run_in_child(options, folder, lambda run: view.follow(run, seconds()), app, speakers)
    finally:
        view.drop_plot()
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


def _read(kept: Path, rounds: int, view: View) -> History:
    """Return the history of what is kept, and show how it ended."""
    run = RunningHistory(kept, rounds)
    run.read()
    run.history.envoys = sorted(json.loads((kept / CARDS).read_text(encoding="utf-8")))
    seconds = json.loads((kept / ABOUT).read_text(encoding="utf-8"))["seconds"]
    view.show(ProgressBar(1.0, seconds, f"test accuracy {run.history.test}"))
    return run.history


class View:
    """What is seen of a simulation: a bar and, while it runs, a plot that each finished round redraws.

    Both are one output, so that of the plot nothing stays in the notebook.
    """

    def __init__(self) -> None:
        self._bar = ProgressBar(0.0, 0, "begins")
        self._drawn, self._png = 0, b""
        # None outside of a notebook.
        self._output = display(self._bar, display_id=True)

    def show(self, bar: ProgressBar) -> None:
        """Show a bar, if it is another than before."""
        if self._output is not None and bar != self._bar:
            self._bar = bar
            self._output.update(bar)

    def follow(self, run: RunningHistory, seconds: int) -> None:
        """Show how far a run is after so many seconds, and what it has learned."""
        if self._output is None:
            return
        if run.done > self._drawn:
            self._drawn = run.done
            self._png = show(plot_learning(run.history), "").data
        share = run.done / run.history.schedule.total_rounds
        self.show(_BarAndPlot(share, seconds, run.words, self._png))

    def drop_plot(self) -> None:
        """Leave the bar alone, as it is."""
        self.show(ProgressBar(self._bar.share, self._bar.seconds, self._bar.words))


@dataclass(frozen=True, repr=False)
class _BarAndPlot(ProgressBar):
    """A bar with a picture below it, a PNG of twice the pixels; none if it is empty."""

    png: bytes

    def _repr_html_(self) -> str:
        if not self.png:
            return super()._repr_html_()
        data = base64.b64encode(self.png).decode()
        about = "loss and validation accuracy over the rounds so far"
        picture = f'<img width="{FIGURE_PIXELS}" alt="{about}" src="data:image/png;base64,{data}">'
        return super()._repr_html_() + picture
