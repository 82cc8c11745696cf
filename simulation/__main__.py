"""`python -m simulation`: many clients on one machine, one run, one folder of results."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from rich.console import Console

from demo.__main__ import carry_out
from demo.errors import DemoError
from demo.run_folder import RunFolder
from demo.speech import make_synthetic_speech
from simulation.engine import CLUSTER, Engine
from simulation.options import Options, parse_options
from simulation.progress import RoundProgress
from superb_ks.run_files import FINISHED, STATUS


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate; returns the exit code, as the demo's."""
    return carry_out("simulate", lambda: parse_options(arguments), _run)


def _run(options: Options, folder: RunFolder, console: Console) -> None:
    """Everything between an empty run folder and a complete one."""
    if options.data_dir is None:
        make_synthetic_speech(options.settings.seed, "--speakers", str(options.speakers))
    work = folder.path / "nodes"  # which is not kept
    output = work / "output"
    cluster = os.environ.get(CLUSTER)
    where = f"the Ray cluster at {cluster}" if cluster else f"{options.workers} workers"
    console.print(
        f"Starting Flower's simulation of {options.clients} clients, on {where} ...", highlight=False
    )
    with (
        Engine(work / "flower", folder.path / "logs", options.clients, options.workers) as engine,
        RoundProgress(console, output, options.settings.rounds) as progress,
    ):
        for _ in engine.run({**options.run_config, "output": str(output)}):
            progress.update()
        progress.update()
        status = (output / STATUS).read_text(encoding="utf-8") if (output / STATUS).exists() else "not begun"
        if status != FINISHED:
            raise DemoError(
                "; ".join(progress.history.events) or f"the run is {status}:\n{engine.log_tail()}"
            )
    from simulation.results import keep  # PyTorch takes seconds, which a wrong option need not wait for

    keep(options, progress.history, output, folder.path)


if __name__ == "__main__":
    sys.exit(main())
