"""`python -m simulation`: many clients on one machine, one run, one folder of results."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from rich.console import Console

from demo.command import carry_out
from demo.run_folder import RunFolder
from demo.speech import make_synthetic_speech
from simulation.engine import ROOT, named_cluster
from simulation.options import Options, parse_options
from simulation.process import OUTPUT, run_in_child
from simulation.progress import RoundProgress, RunningHistory

PLOT_SECONDS = 10.0
"""The plot is drawn no more often: that takes a quarter of a second of a core, on which clients train."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate; returns the exit code, as the demo's."""
    return carry_out("simulate", lambda: parse_options(arguments), _run)


def _run(options: Options, folder: RunFolder, console: Console) -> None:
    """Everything between an empty run folder and a complete one."""
    if options.data_dir is None:
        make_synthetic_speech(options.settings.seed, "--speakers", str(options.speakers))
    cluster = named_cluster()
    where = f"the Ray cluster at {cluster}" if cluster else f"{options.workers} workers"
    console.print(
        f"Starting Flower's simulation of {options.clients} clients, on {where} ...", highlight=False
    )
    # Matplotlib takes half a second, which a wrong option need not wait for.
    from simulation.results import PLOT, draw, keep

    plot = (folder.path / PLOT).relative_to(ROOT)
    console.print(f"{plot} shows from the first round on how they learn", highlight=False)
    drawn, due = 0, 0.0
    with RoundProgress(console) as progress:

        def follow(run: RunningHistory) -> None:
            nonlocal drawn, due
            progress.show(run)
            if run.done > drawn and time.monotonic() >= due:
                draw(run.history, folder.path)
                drawn, due = run.done, time.monotonic() + PLOT_SECONDS

        history = run_in_child(options, folder.path, follow)
    keep(options, history, folder.path / OUTPUT, folder.path)


if __name__ == "__main__":
    sys.exit(main())
