"""Renew the outputs of a committed notebook by one clean run: `python -m demo.outputs [NUMBER|FILE]`.

Nothing is put into the notebook; it runs with the settings that a reader sees, on the default ports.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from demo import notebook
from demo.errors import DemoError
from demo.federation import Federation
from demo.options import WORKSPACE, find_notebook
from demo.report import LiveProgress
from superb_node.command_line import set_up_output

DIRECTOR_PORT, AGGREGATOR_PORT = 50050, 50051


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a notebook on two envoys and write it back; returns the exit code."""
    set_up_output()
    parser = argparse.ArgumentParser(prog="python -m demo.outputs", description=__doc__)
    parser.add_argument("notebook", nargs="?", default="1", help="a number, or a file (1)")
    try:
        path = find_notebook(parser.parse_args(arguments).notebook)
        with tempfile.TemporaryDirectory() as folder:
            federation = Federation(
                Path(folder),
                envoys=2,
                shard_params={"source": "synthetic"},
                director_port=DIRECTOR_PORT,
                aggregator_port=AGGREGATOR_PORT,
            )
            executed = Path(folder) / "notebook.ipynb"
            with contextlib.ExitStack() as running, LiveProgress(Console(soft_wrap=True)) as progress:
                if notebook.needs_federation(path):
                    running.enter_context(federation)
                notebook.execute(path, executed, WORKSPACE, progress=progress, watch=federation.check)
            path.write_bytes(executed.read_bytes())
    except DemoError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
