"""Flower's engine here, beside the other engine, a plain loop and the usual app; its memory; many speakers.

    python -m benchmarks.engines [--repeats 3] [--only learning rounds memory]
    python -m benchmarks.engines --only speakers --data FOLDER --seeds 0 1 2

The modules `learning`, `rounds`, `memory` and `speakers` say what each of them measures.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.compare.results import commit
from benchmarks.engines.learning import learning_figures
from benchmarks.engines.memory import memory_figures
from benchmarks.engines.rounds import TUNINGS, round_figures
from benchmarks.engines.speakers import Archives, speaker_rows
from benchmarks.transport.result import merge, now
from demo.interrupts import Interrupted, raise_interrupted
from demo.options import SYNTHETIC, OptionError, archive_folders
from superb_node.command_line import whole_from
from tests.support.machine import machine

RESULTS = Path(__file__).resolve().parents[1] / "results" / "engines.json"
PARTS = ("learning", "rounds", "memory", "speakers")


def main(argv: list[str] | None = None) -> int:
    """Measure, print and keep what was measured; returns 1 if a figure is outside its limit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=whole_from(1), default=3, help="runs of each way, in turn")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument(
        "--data",
        default=SYNTHETIC,
        help="speakers: folder of the training archive of real speech",
    )
    parser.add_argument("--test-data", default="", help="of the test archive, if it is not beside --data")
    parser.add_argument(
        "--seeds", type=whole_from(0), nargs="+", default=[0, 1, 2], help="of the speakers' training"
    )
    given = parser.parse_args(argv)
    try:
        archives = archive_folders(given.data or SYNTHETIC, given.test_data)
    except OptionError as error:
        parser.error(str(error))
    measured, missed = commit(), 0
    try:
        with raise_interrupted():
            for name, measure in wanted(given.only, given.repeats, archives, given.seeds).items():
                figures = measure()
                print(f"{name}:", *(f"{key}={value}" for key, value in figures.items()), flush=True)
                missed += not figures.get("good", True)  # of the speakers nothing is demanded
                merge(name, {**figures, "date": now(), "commit": measured, "machine": machine()}, RESULTS)
    except Interrupted as interrupted:
        return interrupted.exit_code
    return int(missed > 0)


def wanted(
    parts: Sequence[str], repeats: int, archives: Archives, seeds: Sequence[int]
) -> dict[str, Callable[[], dict[str, Any]]]:
    """Return what measures each row of the results.

    Args:
        parts: some of `PARTS`.
        repeats: runs of each way.
        archives: folders of real speech, as `archive_folders` returns them.
        seeds: of the speakers' training.
    """
    rows: dict[str, Callable[[], dict[str, Any]]] = {}
    if "learning" in parts:
        rows["learning"] = partial(learning_figures, repeats)
    if "rounds" in parts:
        for tuning in TUNINGS:
            rows[f"rounds, {tuning}"] = partial(round_figures, tuning, repeats)
    if "memory" in parts:
        rows["memory"] = partial(memory_figures, repeats)
    if "speakers" in parts:
        rows |= speaker_rows(archives, seeds)
    return rows


if __name__ == "__main__":
    sys.exit(main())
