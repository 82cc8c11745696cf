"""What the demo shows: progress while the notebook runs, and the results at its end."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nbformat import NotebookNode
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from superb_ks.recipe import recipe_in_words
from superb_node.text import safe_lines

_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*$", re.MULTILINE)
_PLACES = {
    "notebook": "notebook.ipynb",
    "as a page": "notebook.html",
    "plot": "learning.png",
    "model": "model",
    "summary": "summary.json",
    "logs": "logs",
}


class LiveProgress:
    """A bar over the notebook's code cells; headings and printed lines scroll above it. A context manager.

    nbclient calls it before and after each cell, and papermill with what cells print, from another thread.
    """

    def __init__(self, console: Console, replace: Mapping[str, str] | None = None) -> None:
        """Show the progress on `console`, with texts such as a temporary name replaced in what is printed."""
        self._console = console
        self._replace = dict(replace or {})
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            TextColumn("cell {task.completed} of {task.total}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._task = TaskID(0)
        self._heading = self._shown = self._rest = ""
        self._start = time.monotonic()

    def __enter__(self) -> LiveProgress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def notebook_starts(self, notebook: NotebookNode) -> None:
        """Count the code cells."""
        total = sum(cell.cell_type == "code" and bool(cell.source.strip()) for cell in notebook.cells)
        self._task = self._bar.add_task("", total=total)

    def cell_starts(self, cell: NotebookNode, **_: Any) -> None:
        """Note the heading, if it is a cell with one."""
        if cell.cell_type == "markdown" and (headings := _HEADING.findall(cell.source)):
            self._heading = headings[-1]

    def cell_executes(self, **_: Any) -> None:
        """Print the heading of a new section, and move the bar."""
        if self._heading != self._shown:
            self._shown = self._heading
            seconds = time.monotonic() - self._start
            self._console.print(f"[dim]{seconds:6.1f} s[/]  [bold]{escape(self._shown)}[/]", highlight=False)
        self._bar.update(self._task, advance=1, description=escape(self._shown))

    def cell_ends(self, **_: Any) -> None:
        """Print what stands on a line without an end."""
        if self._rest:
            self.write("\n")

    def write(self, text: str) -> None:
        """Print whole lines; of a line rewritten with carriage returns the last state counts."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            line = line.rstrip("\r").rpartition("\r")[2]
            for old, new in self._replace.items():
                line = line.replace(old, new)
            self._console.print(f"          {safe_lines(line)}", markup=False, highlight=False)

    def flush(self) -> None:
        """Wait for the end of the line: papermill flushes after each piece of text."""


def print_results(console: Console, run: Path, seconds: float) -> None:
    """Print rounds, recipe and test accuracies, if the notebook wrote a summary, and where everything is.

    Args:
        console: where to print.
        run: folder of the run, `runs/<id>`.
        seconds: wall-clock time of the whole demo, which is more than the experiment in it.
    """
    score = ""
    if (run / "summary.json").is_file():
        summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
        console.print(results_table(summary))
        if "recipe" in summary:  # not if a notebook writes a summary of its own
            told = recipe_in_words(summary["recipe"], summary["settings"])
            console.print(f"Recipe: {told}", markup=False, highlight=False, soft_wrap=True)
        before, after = (_number(summary[key], 4) for key in ("initial_test_accuracy", "test_accuracy"))
        clips = summary["test_clips"]
        score = f"Test accuracy on {clips} clips: {before} before training, {after} after; "
    console.print(f"{score}{seconds:.0f} s in all.", highlight=False)
    if score and (why := summary.get("stopped_early")):
        console.print(f"Training ended early: {escape(why)}.", highlight=False)
    if score and (baseline := summary.get("baseline")) is not None:
        after = _number(baseline["test_accuracy"], 4)
        console.print(f"{escape(baseline['model'])}, in as many rounds: {after}.", highlight=False)
    for what, where in _PLACES.items():
        if (run / where).exists():
            place = Path(run.parent.name, run.name, where)
            console.print(f"{what:>10}  {place}", markup=False, highlight=False, soft_wrap=True)


def results_table(summary: Mapping[str, Any]) -> Table:
    """One row for each round of a `summary.json`, with the baseline's accuracy where there is one."""
    who = f"{summary['clients']} clients" if "clients" in summary else envoys(summary["envoys"])
    title = (
        f"{summary['model']}, {summary['tuning']}, {summary['strategy']}; {summary['data']} data, "
        f"{who}, {summary['partition']}"
    )
    baseline = summary.get("baseline")
    table = Table(title=escape(title))
    for column in ("round", "training loss", "validation accuracy", "seconds"):
        table.add_column(column, justify="right")
    private = any("epsilon" in row for row in summary["rounds"])
    if private:
        table.add_column("epsilon", justify="right")
    if baseline is not None:
        table.add_column(escape(f"{baseline['model']}: validation accuracy"), justify="right")
    baseline_accuracy = (
        {} if baseline is None else {row["round"]: row["val_accuracy"] for row in baseline["rounds"]}
    )
    for row in summary["rounds"]:
        table.add_row(
            str(row["round"]),
            _number(row["train_loss"], 4),
            _number(row["val_accuracy"], 4),
            _number(row["seconds"], 1),
            *([_number(row.get("epsilon"), 2)] if private else []),
            *([] if baseline is None else [_number(baseline_accuracy.get(row["round"]), 4)]),
        )
    return table


def envoys(count: int) -> str:
    """The count in words that fit it."""
    return f"{count} envoy" if count == 1 else f"{count} envoys"


def _number(value: float | None, digits: int) -> str:
    """A dash where nothing was measured."""
    return "-" if value is None else f"{value:.{digits}f}"
