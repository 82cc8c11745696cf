"""Runs a simulation in a process of its own, which ends when this one does: nothing outlives a `kill -9`."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from demo.errors import DemoError
from demo.interrupts import held_back
from demo.process import TAIL_LINES
from simulation.engine import APP, ROOT
from simulation.job import Job
from simulation.options import Options
from simulation.progress import RunningHistory
from superb_ks.run_files import FINISHED, STATUS
from superb_notebook.history import History

OUTPUT = Path("nodes", "output")
"""Where a run that goes on writes, in its folder."""

ENVOY = ROOT / "envoy"
"""The folder whose config says what the clients' shards are."""

_LOGS = "logs"
_POLL_SECONDS = 0.5


def run_in_child(
    options: Options,
    folder: Path,
    show: Callable[[RunningHistory], object],
    app: Path = APP,
    speakers: int | None = None,
) -> History:
    """Simulate, show from time to time how far it is, and return when all has ended.

    Args:
        options: what the user asks for.
        folder: of the run; the logs are in it, and, in `OUTPUT`, records and models.
        show: gets the records so far.
        app: folder of the Flower app.
        speakers: of the synthetic speech that the child makes; None: the clips are there.

    Returns:
        the records.

    Raises:
        DemoError: the simulation failed.
    """
    output, logs = folder / OUTPUT, folder / _LOGS
    job = Job(
        app=str(app),
        config={**options.run_config, "output": str(output), "envoy-folder": str(ENVOY)},
        folder=str(output.with_name("flower")),
        logs=str(logs),
        clients=options.clients,
        workers=options.workers,
        speakers=speakers,
    )
    run = RunningHistory(output, options.settings.rounds)

    def poll() -> None:
        run.read()
        show(run)

    _carry_out(job, poll)
    status = (output / STATUS).read_text(encoding="utf-8") if (output / STATUS).exists() else "not begun"
    if status != FINISHED:
        log = (logs / "run.log").read_text(encoding="utf-8", errors="replace")
        raise DemoError("; ".join(run.history.events) or f"the run is {status}:\n{_end_of(log)}")
    return run.history


def _carry_out(job: Job, poll: Callable[[], object]) -> None:
    """Let a child do a job, and poll until it has ended.

    Raises:
        DemoError: it failed.
    """
    with tempfile.TemporaryFile("w+", errors="replace") as said:
        with contextlib.ExitStack() as at_the_end:
            with held_back():
                child = subprocess.Popen(
                    [sys.executable, "-m", "simulation.job"],
                    cwd=ROOT,
                    stdin=subprocess.PIPE,
                    stdout=said,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
                at_the_end.callback(_end, child)
            assert child.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # what it said tells why it ended
                child.stdin.write(job.to_line().encode())
                child.stdin.flush()
            while child.poll() is None:
                poll()
                time.sleep(_POLL_SECONDS)
        poll()
        if child.returncode:
            said.seek(0)
            # A service that ended is told in one line more than its log's end has.
            told = _end_of(said.read(), TAIL_LINES + 1)
            raise DemoError(told or f"the simulation ended with exit code {child.returncode}")


def _end(child: subprocess.Popen[bytes]) -> None:
    """Close the child's standard input, upon which it stops all that it has started, and wait for it."""
    with held_back():
        child.communicate()


def _end_of(text: str, lines: int = TAIL_LINES) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])
