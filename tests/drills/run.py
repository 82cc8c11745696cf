"""Run the failure drills of docs/reliability.md against real processes and print how each one ended.

python -m tests.drills [--only TEXT] [--rest] [--json PATH]
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from demo.interrupts import raise_interrupted
from tests.drills import director, envoys, hostile, notebook, services  # noqa: F401 (each adds its drills)
from tests.drills.drill import DRILLS, Drill
from tests.support.lab import Lab

ROOT = Path(__file__).resolve().parents[2]

ENVOYS = 3


@dataclass(frozen=True)
class Result:
    """One row of `drills.json`."""

    drill: str
    passed: bool
    seconds: float
    outcome: str


def perform(drill: Drill, lab: Lab) -> Result:
    """Run one drill on a healthy federation, and make that healthy again."""
    started = time.monotonic()
    passed = False
    try:
        outcome = drill.run(lab)
        passed = True
    except Exception as error:
        traceback.print_exc()
        outcome = f"{type(error).__name__}: {error}"
    seconds = round(time.monotonic() - started, 1)
    try:
        lab.heal()
    except Exception as error:
        traceback.print_exc()
        passed, outcome = False, f"{outcome}; afterwards no experiment runs: {error}"
    return Result(drill.name, passed, seconds, outcome)


def table_of(results: list[Result]) -> Table:
    """Lay out the results."""
    table = Table("drill", "outcome", "seconds", title="Failure drills")
    for result in results:
        mark = "[green]passed[/]" if result.passed else "[red]FAILED[/]"
        table.add_row(result.drill, f"{mark}: {result.outcome}", f"{result.seconds:.1f}")
    return table


def write_results(path: Path, results: list[Result]) -> None:
    """Publish the rows at `path`."""
    rows = [asdict(result) for result in results]
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, path)


def main() -> int:
    """Run the drills; returns 1 if one failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.drills", description="Run the failure drills.")
    parser.add_argument("--only", default="", help="only drills with this text in their name")
    parser.add_argument(
        "--json", type=Path, help="where the rows go; default: benchmarks/results/drills.json"
    )
    parser.add_argument("--rest", action="store_true", help="only those that `make test` does not run")
    arguments = parser.parse_args()
    chosen = [
        drill
        for drill in DRILLS
        if arguments.only.lower() in drill.name.lower() and not (arguments.rest and drill.quick)
    ]
    if not chosen:
        print(
            f"no drill has {arguments.only!r} in its name; there are:", *(d.name for d in DRILLS), sep="\n  "
        )
        return 2
    console, results = Console(), []
    with (
        raise_interrupted(),
        tempfile.TemporaryDirectory(prefix="drills-") as folder,
        Lab(Path(folder), ENVOYS) as lab,
    ):
        lab.heal()
        for drill in chosen:
            with console.status(drill.name):
                results.append(perform(drill, lab))
            console.print(
                f"{'passed' if results[-1].passed else 'FAILED'} {drill.name} ({results[-1].seconds} s)"
            )
    console.print(table_of(results))
    some = arguments.only or arguments.rest
    path = arguments.json or (None if some else ROOT / "benchmarks" / "results" / "drills.json")
    if path is not None:
        write_results(path, results)
    return 0 if all(result.passed for result in results) else 1
