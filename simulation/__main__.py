"""`python -m simulation`: many clients on one machine, one run, one folder of results."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console

from demo.command import carry_out
from demo.run_folder import RunFolder
from demo.speech import make_synthetic_speech
from simulation.engine import named_cluster
from simulation.options import Options, parse_options
from simulation.process import OUTPUT, run_in_child
from simulation.progress import RoundProgress


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
    with RoundProgress(console) as progress:
        history = run_in_child(options, folder.path, progress.show)
    from simulation.results import keep  # PyTorch takes seconds, which a wrong option need not wait for

    keep(options, history, folder.path / OUTPUT, folder.path)


if __name__ == "__main__":
    sys.exit(main())
