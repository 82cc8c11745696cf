"""Flower's engine here, beside the other engine, a plain loop and the usual app, and its memory.

    python -m benchmarks.engines [--repeats 3] [--only learning rounds memory]

`learning`, `rounds` and `memory` say what each of them measures.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.compare.results import commit
from benchmarks.engines.learning import learning_figures
from benchmarks.engines.memory import memory_figures
from benchmarks.engines.rounds import TUNINGS, round_figures
from benchmarks.transport.result import merge, now
from demo.interrupts import Interrupted, raise_interrupted
from tests.support.machine import machine

RESULTS = Path(__file__).resolve().parents[1] / "results" / "engines.json"
PARTS = ("learning", "rounds", "memory")


def main(argv: list[str] | None = None) -> int:
    """Measure, print and keep what was measured; returns 1 if a figure is outside its limit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3, help="runs of each way, in turn; medians are kept")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    given = parser.parse_args(argv)
    measured, missed = commit(), 0
    try:
        with raise_interrupted():
            for name, measure in wanted(given.only, given.repeats).items():
                figures = measure()
                print(f"{name}:", *(f"{key}={value}" for key, value in figures.items()), flush=True)
                missed += not figures["good"]
                merge(name, {**figures, "date": now(), "commit": measured, "machine": machine()}, RESULTS)
    except Interrupted as interrupted:
        return interrupted.exit_code
    return int(missed > 0)


def wanted(parts: tuple[str, ...], repeats: int) -> dict[str, Callable[[], dict[str, Any]]]:
    """Return what measures each row of the results."""
    rows: dict[str, Callable[[], dict[str, Any]]] = {}
    if "learning" in parts:
        rows["learning"] = partial(learning_figures, repeats)
    if "rounds" in parts:
        for tuning in TUNINGS:
            rows[f"rounds, {tuning}"] = partial(round_figures, tuning, repeats)
    if "memory" in parts:
        rows["memory"] = memory_figures
    return rows


if __name__ == "__main__":
    sys.exit(main())
