"""What the demo shows: progress while the notebook runs, and the results at its end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table


class LiveProgress:
    """A bar over the notebook's cells; headings and printed lines scroll above it. A context manager."""

    def __init__(self, console: Console, replace: Mapping[str, str] | None = None) -> None:
        """Show the progress on `console`, with texts such as a temporary name replaced in what is printed."""
        self._console = console
        self._replace = dict(replace or {})
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            TextColumn("cell {task.completed} of {task.total}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._task: TaskID | None = None
        self._section = ""
        self._start = time.monotonic()

    def __enter__(self) -> LiveProgress:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def on_cell(self, number: int, total: int, section: str) -> None:
        """A code cell starts; see `demo.notebook.Listener`."""
        if section != self._section:
            self._section = section
            seconds = time.monotonic() - self._start
            self._console.print(f"[dim]{seconds:6.1f} s[/]  [bold]{escape(section)}[/]", highlight=False)
        if self._task is None:
            self._task = self._progress.add_task("", total=total)
        self._progress.update(self._task, completed=number, description=escape(section))

    def on_line(self, line: str) -> None:
        """A cell printed a line; see `demo.notebook.Listener`."""
        for old, new in self._replace.items():
            line = line.replace(old, new)
        self._console.print(f"          {line}", markup=False, highlight=False)


def print_results(console: Console, summary: Mapping[str, Any], run: Path, seconds: float) -> None:
    """Print the table of rounds, the test accuracy before and after, and where everything is.

    Args:
        console: where to print.
        summary: content of the run's `summary.json`.
        run: folder of the run, as it is to be printed.
        seconds: wall-clock time of the whole demo, which is more than the experiment in it.
    """
    console.print(results_table(summary))
    before, after = (_number(summary[key], 4) for key in ("initial_test_accuracy", "test_accuracy"))
    console.print(
        f"Test accuracy on {summary['test_clips']} clips: {before} before training, {after} after; "
        f"{seconds:.0f} s in all.",
        highlight=False,
    )
    if (baseline := summary["baseline"]) is not None:
        after = _number(baseline["test_accuracy"], 4)
        console.print(f"{escape(baseline['model'])}, in as many rounds: {after}.", highlight=False)
    page = Path(summary["notebook"]).with_suffix(".html")
    places = {
        "notebook": summary["notebook"],
        "as a page": str(page),
        "model": summary["model_dir"],
        "summary": "summary.json",
        "logs": "logs",
    }
    for what, where in places.items():
        console.print(f"{what:>10}  {run / where}", markup=False, highlight=False, soft_wrap=True)


def results_table(summary: Mapping[str, Any]) -> Table:
    """One row for each round of a `summary.json`, with the baseline's accuracy where there is one."""
    title = (
        f"{summary['model']}, {summary['tuning']}, {summary['strategy']}; {summary['data']} data, "
        f"{envoys(summary['envoys'])}, {summary['partition']}"
    )
    baseline = summary["baseline"]
    table = Table(title=escape(title))
    for column in ("round", "training loss", "validation accuracy", "seconds"):
        table.add_column(column, justify="right")
    private = any("epsilon" in row for row in summary["rounds"])
    if private:
        table.add_column("epsilon", justify="right")
    if baseline is not None:
        table.add_column(escape(f"{baseline['model']}: validation accuracy"), justify="right")
    beside = {} if baseline is None else {row["round"]: row["val_accuracy"] for row in baseline["rounds"]}
    for row in summary["rounds"]:
        table.add_row(
            str(row["round"]),
            _number(row["train_loss"], 4),
            _number(row["val_accuracy"], 4),
            _number(row["seconds"], 1),
            *([_number(row.get("epsilon"), 2)] if private else []),
            *([] if baseline is None else [_number(beside.get(row["round"]), 4)]),
        )
    return table


def envoys(count: int) -> str:
    """The count in words that fit it."""
    return f"{count} envoy" if count == 1 else f"{count} envoys"


def _number(value: float | None, digits: int) -> str:
    """A dash where nothing was measured."""
    return "-" if value is None else f"{value:.{digits}f}"
