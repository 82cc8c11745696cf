"""The finished runs in a folder, side by side: `python -m superb_notebook.runs [RUNS]`."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from superb_node.command_line import set_up_output
from superb_node.text import MAX_NAME_LETTERS, printable, shortened
from superb_notebook.summary import SUMMARY
from superb_notebook.told_settings import differences, flat

_NAMED_BY_TIME = re.compile(r"\d{8}-\d{6}")
_OTHERS = (".", "simulations")  # what begins so is no run
_MAX_BYTES = 1 << 22  # of a summary; the longest that a notebook writes has some hundred kilobytes
_WORDS = ("model", "tuning", "strategy", "data", "partition")
_MADE_UP = re.compile(r"ks-\d{8}-\d{6}")  # by `FederatedExperiment`; the folder's name says as much


@dataclass(frozen=True)
class Run:
    """What `summary.json` says of one finished run.

    Attributes:
        name: of its folder.
        date: when it was started, or, if the folder's name does not say so, when it was summed up.
        model: and how it was tuned and averaged, the clips' sources and their partition, in words.
        envoys: how many took part.
        rounds: of training.
        accuracy: of the best model on the test clips, in [0, 1].
        clips: how many test clips there were.
        seconds: of all rounds.
        bytes: that an envoy sent in all rounds, on average over those that trained; None if nobody sent any.
        experiment: its name; empty if it has none that somebody chose.
        settings: by dotted names; what is left to the model's recipe has its value. Empty in old summaries.
    """

    name: str
    date: datetime
    model: str
    tuning: str
    strategy: str
    data: str
    partition: str
    envoys: int
    rounds: int
    accuracy: float
    clips: int
    seconds: float
    bytes: float | None
    experiment: str
    settings: Mapping[str, Any]

    @property
    def title(self) -> str:
        """The folder's name, and the experiment's if that says more."""
        return self.name if self.experiment in ("", self.name) else f"{self.name} {self.experiment}"

    @property
    def sent(self) -> float | None:
        """MB that an envoy sent in all rounds."""
        return None if self.bytes is None else self.bytes / 1e6


def read_run(folder: Path) -> Run:
    """Read the summary in a run's folder.

    Raises:
        ValueError: there is none, or not one that a notebook writes; the message is one line.
    """
    path = folder / SUMMARY
    if not path.is_file():
        raise ValueError(f"no {SUMMARY}")
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"more than {_MAX_BYTES:,} bytes")
        summary = json.loads(path.read_bytes())
        date = _date(folder.name) or datetime.fromtimestamp(path.stat().st_mtime)
        return Run(folder.name, date, **_figures(summary))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"damaged {SUMMARY}: {_first_line(error)}") from error


def find_runs(folder: Path) -> tuple[list[Run], dict[str, str]]:
    """Read all runs in a folder.

    Returns:
        The runs, the oldest first; and why other folders are none, by name. Passed over are hidden folders,
        links, such as `latest`, and the simulations of notebooks.

    Raises:
        ValueError: there is no such folder.
    """
    if not folder.is_dir():
        raise ValueError(f"{printable(str(folder))} is not a folder; legal: the folder of all runs")
    runs, others = [], {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(_OTHERS) or path.is_symlink() or not path.is_dir():
            continue
        try:
            runs.append(read_run(path))
        except ValueError as error:
            others[path.name] = str(error)
    return sorted(runs, key=lambda run: (run.date, run.name)), others


def runs_table(runs: Sequence[Run]) -> Table:
    """Return one row for each run, which fits into 80 columns; with the settings in which the runs differ."""
    table = Table(
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
        caption="accuracy: on test clips; MB: sent by an envoy that trained",
    )
    for column in ("run", "experiment", "envoys"):
        table.add_column(column, overflow="fold")
    for column in ("rounds", "accuracy", "seconds", "MB"):
        table.add_column(column, justify="right", no_wrap=True)
    for run, own in zip(runs, differences([run.settings for run in runs]), strict=True):
        dated = run.title if _date(run.name) else f"{run.title} ({run.date:%Y-%m-%d})"
        how = ", ".join(filter(None, (run.model, run.tuning, run.strategy, own)))
        words = (escape(printable(word)) for word in (dated, how, f"{run.envoys}, {run.partition}"))
        sent = "-" if run.sent is None else f"{run.sent:,.{1 if run.sent < 100 else 0}f}"
        table.add_row(*words, str(run.rounds), f"{run.accuracy:.1%}", f"{run.seconds:,.0f}", sent)
    return table


def left_out(others: Mapping[str, str]) -> list[str]:
    """Return a line for each folder that is no run, from why it is none by its name."""
    return [f"Left out: {printable(name)} ({reason})" for name, reason in others.items()]


def _date(name: str) -> datetime | None:
    """Return the time that a folder is named by."""
    start = _NAMED_BY_TIME.match(name)
    try:
        return datetime.strptime(start[0], "%Y%m%d-%H%M%S") if start else None
    except ValueError:
        return None


def _figures(summary: object) -> dict[str, Any]:
    """Return the entries of a summary that a run is made of; raise ValueError for one that cannot be."""
    if not isinstance(summary, dict):
        raise ValueError("not a JSON object")
    words = {name: _entry(summary, name, str) for name in _WORDS}
    name = _entry(summary, "experiment", str) if summary.get("experiment") is not None else ""
    return {
        **words,
        "envoys": _entry(summary, "envoys", int),
        "rounds": len(_entry(summary, "rounds", list)),
        "accuracy": _number(summary, "test_accuracy", 1.0),
        "clips": round(_number(summary, "test_clips")),
        "seconds": _number(summary, "seconds_total"),
        "bytes": _bytes_sent(summary),
        "experiment": "" if _MADE_UP.fullmatch(name) else name,
        "settings": _settings(summary),
    }


def _bytes_sent(summary: Mapping[str, Any]) -> float | None:
    """Return the bytes that an envoy sent; older summaries know only those of a round."""
    if summary.get("bytes_sent_per_envoy") is not None:
        return _number(summary, "bytes_sent_per_envoy")
    if summary.get("bytes_up_per_envoy_round") is None:
        return None
    return _number(summary, "bytes_up_per_envoy_round") * len(_entry(summary, "rounds", list))


def _settings(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings by dotted names, and those of the model's recipe where nothing else was chosen."""
    if "settings" not in summary:
        return {}
    chosen = flat(_entry(summary, "settings", dict))
    recipe = flat({"recipe": _entry(summary, "recipe", dict)})
    return {**chosen, **{name: value for name, value in recipe.items() if chosen.get(name) is None}}


def _entry(summary: Mapping[str, Any], name: str, kind: type) -> Any:
    value = summary.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{name} is {shortened(repr(value), MAX_NAME_LETTERS)}")
    return value


def _number(summary: Mapping[str, Any], name: str, most: float = 1e15) -> float:
    value = summary.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= most:
        raise ValueError(f"{name} is {shortened(repr(value), MAX_NAME_LETTERS)}")
    return value


def _first_line(error: Exception) -> str:
    return printable((str(error) or type(error).__name__).splitlines()[0])


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, and a line for each folder that is no run; return the process's exit code."""
    parser = argparse.ArgumentParser(prog="python -m superb_notebook.runs", description=__doc__)
    parser.add_argument("runs", type=Path, nargs="?", default=Path("../runs"), help="folder (../runs)")
    options = parser.parse_args(arguments)
    set_up_output()
    try:
        runs, others = find_runs(options.runs)
    except (ValueError, OSError) as error:
        print(f"error: {_first_line(error)}", file=sys.stderr)
        return 1
    if runs:
        Console().print(runs_table(runs))
    else:
        print(f"No finished run in {options.runs}: make demo makes one.")
    for line in left_out(others):
        print(line, file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
