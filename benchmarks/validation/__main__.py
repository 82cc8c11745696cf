"""What changes to recipes and strategies do, without a test clip.

    python -m benchmarks.validation --data path/to/speech_commands_v0.01
    python -m benchmarks.validation --data … --trial "full shift_seconds=0.1" "iid fedprox mu=0.1"
    python -m benchmarks.validation --list     # what is tried without --trial
    python -m benchmarks.validation --report   # the table of what was measured earlier

Training in one place is cross-validated: each fifth of the speakers is held out once, with its training and
validation clips. Four envoys are scored on their validation clips, and one process plays them all.
Rows are kept as they are finished, in benchmarks/results/validation.json, those of other clips than the
project's sample in benchmarks/results/own/, and are not run again.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks.compare.data import Archives, find_archives
from benchmarks.compare.results import commit, load_rows, ready_rows
from benchmarks.validation.rows import RESULTS, done, keep, key, results_file, table
from benchmarks.validation.training import FOLDS, score
from benchmarks.validation.trial import TRIALS, Trial, parse
from benchmarks.workers import side_by_side
from demo.interrupts import Interrupted, raise_interrupted
from demo.options import OptionError
from superb_node.command_line import whole_from
from superb_node.errors import DataError


def main(argv: Sequence[str] | None = None) -> int:
    """Try what is asked for; returns 0, 1 if a training failed, 2 for a bad option, 130 for Ctrl-C."""
    options = _parser().parse_args(argv)
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    if options.list:
        print("\n".join(TRIALS))
        return 0
    try:
        trials = [parse(text) for text in dict.fromkeys(options.trial)]
        archives = find_archives(options.data, options.test_data)
        if archives is None and not options.report:
            raise OptionError("--data FOLDER is missing: the folder of the training archive")
        results = options.results or (results_file(archives.clips) if archives else RESULTS)
        rows = load_rows(results) if options.report else ready_rows(results)
        if not all("trial" in row for row in rows):
            raise DataError(f"{results} has rows of something else than trials")
        if options.report and not rows:
            raise DataError(f"no rows in {results}: --data FOLDER makes them")
    except (OptionError, DataError, ValueError) as error:
        console.print(str(error), markup=False)
        return 2
    failed = 0
    if archives is not None and not options.report:
        try:
            with raise_interrupted():
                failed = _run(trials, options.seeds, archives, results, rows, console)
        except Interrupted as interrupted:
            console.print("interrupted; the finished rows are kept, and are not run again", style="yellow")
            return interrupted.exit_code
    _show(load_rows(results))
    return failed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.validation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", default="", help="folder of the training archive")
    parser.add_argument("--test-data", default="", help="of the test archive, none of whose clips is used")
    parser.add_argument("--trial", nargs="+", default=TRIALS, metavar="TEXT", help="else all of --list")
    parser.add_argument("--seeds", type=whole_from(0), nargs="+", default=[0], help="default 0")
    parser.add_argument("--results", type=Path, help="file of the rows")
    parser.add_argument("--list", action="store_true", help="print the trials and do nothing")
    parser.add_argument("--report", action="store_true", help="print the table and do nothing else")
    return parser


def _run(
    trials: Sequence[Trial],
    seeds: Sequence[int],
    archives: Archives,
    results: Path,
    rows: Sequence[dict],
    console: Console,
) -> int:
    """Train side by side what is not in the rows, and keep a row of each; returns 1 if one failed, else 0."""
    data = str(archives.train), str(archives.test)
    measured = {"data": list(archives.clips), "commit": commit()}
    calls = []
    for trial in trials:
        folds, there = range(FOLDS if trial.partition is None else 1), done(rows, trial)
        calls += [
            (trial, seed, fold, data)
            for seed, fold in itertools.product(seeds, folds)
            if (trial.text, seed, fold) not in there
        ]
    failed = 0
    for number, ((trial, seed, fold, _), future) in enumerate(side_by_side(score, calls), start=1):
        told = f"{number}/{len(calls)} {trial.text}, seed {seed}, fold {fold}: "
        try:
            accuracy, clips = found = future.result()
        except Exception as error:
            failed = 1
            console.print(f"{told}{type(error).__name__}: {error}", style="red", markup=False)
        else:
            keep(results, trial, seed, fold, found, **measured)
            console.print(f"{told}{accuracy:.1%} of {clips} clips", markup=False)
    return failed


def _show(rows: Sequence[dict]) -> None:
    """Print the table of the rows that a run would skip, in the order of `TRIALS`, then the others."""
    place = {text: number for number, text in enumerate(TRIALS)}
    shown = [row for row in rows if _is_present(row)]
    if older := len(rows) - len(shown):
        print(f"left out: {older} rows of another tiny model or another recipe")
    print(table(sorted(shown, key=lambda row: place.get(row["trial"], len(place)))))


def _is_present(row: dict) -> bool:
    try:
        return key(row) in done([row], parse(row["trial"]))
    except ValueError:  # of a trial that was legal once
        return False


if __name__ == "__main__":
    sys.exit(main())
