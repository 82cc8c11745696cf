"""Renew the outputs of the committed notebook by one clean run: `python -m demo.outputs`.

Nothing is put into the notebook; it runs with the settings that a reader sees, on the default ports.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from demo import notebook
from demo.__main__ import NOTEBOOK, WORKSPACE
from demo.errors import DemoError
from demo.federation import Federation
from demo.run_folder import write_atomically

DIRECTOR_PORT, AGGREGATOR_PORT = 50050, 50051


class Lines:
    """Prints what the notebook prints."""

    def on_cell(self, number: int, total: int, section: str) -> None:
        """Announce a section."""
        print(f"[{number}/{total}] {section}")

    def on_line(self, line: str) -> None:
        """Print a line of output."""
        print(f"    {line}")


def without_outputs(path: Path) -> NotebookNode:
    """Read a notebook and forget what earlier runs left in it."""
    tutorial: NotebookNode = nbformat.read(path, as_version=4)
    for cell in tutorial.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return tutorial


def main() -> int:
    """Run the notebook on two envoys and write it back; returns the exit code."""
    if sys.stdout:  # not closed, as by >&-
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    tutorial = without_outputs(NOTEBOOK)
    try:
        with tempfile.TemporaryDirectory() as folder:
            federation = Federation(
                Path(folder),
                envoys=2,
                shard_params={"source": "synthetic"},
                director_port=DIRECTOR_PORT,
                aggregator_port=AGGREGATOR_PORT,
            )
            with federation:
                notebook.execute(tutorial, WORKSPACE, Lines(), federation.check)
    except DemoError as error:
        print(error, file=sys.stderr)
        return 1
    for cell in tutorial.cells:
        cell.metadata.pop("execution", None)  # times of day change with every run
    write_atomically(NOTEBOOK, nbformat.writes(tutorial) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
