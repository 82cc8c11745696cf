"""Simulations from a notebook: one call runs hundreds of clients, shows how far they are, keeps the records.

What was run once is read from `runs/simulations/` afterwards: same settings, same clients, same code.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from IPython.display import display

from demo.errors import DemoError
from demo.options import SYNTHETIC, archive_folders
from demo.process import TAIL_LINES
from demo.run_folder import RunFolder
from simulation.engine import APP, ROOT
from simulation.job import Job
from simulation.options import Options, require_flower
from simulation.progress import RunningHistory
from superb_ks.model.spec import ModelSpec
from superb_ks.run_files import CARDS, FINISHED, RECORDS, STATUS
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

OUTPUT = Path("nodes", "output")
"""Where a run that goes on writes, in its folder."""

JOB_LOG = "job.log"
_POLL_SECONDS = 0.5


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
    kept = runs / KEPT / _key(options, text)
    bar = display(ProgressBar(0.0, 0, "begins"), display_id=True)
    if not (kept / ABOUT).exists():
        folder = RunFolder(runs)
        try:
            seconds = _run(_job(options, text, folder.path), options.settings.rounds, bar)
            _keep(folder.path / OUTPUT, kept, options, seconds)
        except DemoError as error:
            raise DemoError(f"{error}\nThe logs are in runs/{folder.keep_failure().name}") from error
        finally:
            folder.discard()
    return _read(kept, options.settings.rounds, bar)


def _key(options: Options, text: bytes) -> str:
    """Name what is simulated: the experiment, its clients, and the code of both."""
    total = hashlib.sha256(text)
    total.update(json.dumps([options.clients, options.run_config]).encode())
    for folder in (APP / "superb_flower", ROOT / "envoy" / "speech_commands"):
        for file in sorted(folder.rglob("*.py")):
            total.update(file.read_bytes())
    return total.hexdigest()[:16]


def _job(options: Options, text: bytes, folder: Path) -> Job:
    """Make the folders of a run and return what there is to do in them."""
    (folder / OUTPUT).parent.mkdir()
    (folder / "logs").mkdir()
    return Job(
        app=str(copy_app(folder / "nodes" / "app", text)),
        config={**options.run_config, "output": str(folder / OUTPUT)},
        folder=str(folder / "nodes" / "flower"),
        logs=str(folder / "logs"),
        clients=options.clients,
        workers=options.workers,
        speakers=options.speakers if options.data_dir is None else None,
    )


def _run(job: Job, rounds: int, bar: Any) -> int:
    """Let a process of its own carry out a job, and show how far it is; returns the seconds that it took.

    Raises:
        DemoError: the simulation failed.
    """
    output, logs, started = Path(job.config["output"]), Path(job.logs), time.monotonic()
    run = RunningHistory(output, rounds)
    with (logs / JOB_LOG).open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "simulation.job"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    assert process.stdin is not None
    try:
        with contextlib.suppress(BrokenPipeError):  # its log says why it ended
            process.stdin.write(job.to_line().encode())
            process.stdin.flush()
        while process.poll() is None:
            run.read()
            if bar is not None:
                share = run.done / run.history.schedule.total_rounds
                bar.update(ProgressBar(share, round(time.monotonic() - started), run.words))
            time.sleep(_POLL_SECONDS)
    finally:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        process.wait()
    run.read()
    status = (output / STATUS).read_text(encoding="utf-8") if (output / STATUS).exists() else "not begun"
    if status != FINISHED:
        raise DemoError("; ".join(run.history.events) or f"the run is {status}:\n{_log_tail(logs)}")
    return round(time.monotonic() - started)


def _log_tail(logs: Path) -> str:
    """Return the end of what the process said, or, if it said nothing, of what Flower's run did."""
    files = [logs / name for name in (JOB_LOG, "run.log") if (logs / name).exists()]
    texts = [file.read_text(encoding="utf-8", errors="replace").strip() for file in files]
    return "\n".join(next((text for text in texts if text), "").splitlines()[-TAIL_LINES:])


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
