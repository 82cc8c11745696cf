"""Centralised, local and federated training of the same model on the same clips, side by side.

    python -m benchmarks.compare --data path/to/speech_commands_v0.01
    python -m benchmarks.compare --data … --list             # what would be run
    python -m benchmarks.compare --data … --only dirichlet   # those runs whose name has the text in it
    python -m benchmarks.compare --data … --seeds 0          # every row once; else it has 1, 3 or 5 seeds
    python -m benchmarks.compare --data … --quick            # the main rows with one seed

The test archive is found next to the training archive, or with --test-data. Without --data the rows on real
speech are left out.
Rows are kept as they are finished, and those that are there are not run again. They are in
benchmarks/results/compare.json; those of the quick form, and of other clips than the project's sample, are in
files of their own in benchmarks/results/own/. At the end come the report's tables and plots (see
`benchmarks.compare.report`).
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.compare import federated as compare_federated
from benchmarks.compare import local as compare_local
from benchmarks.compare.data import Archives, find_archives, shard_params
from benchmarks.compare.plan import FEDERATED, REAL, Job, plan
from benchmarks.compare.report import show_report
from benchmarks.compare.results import commit, is_done, keep_row, ready_rows, results_file
from benchmarks.workers import side_by_side
from demo.errors import DemoError
from demo.federation import Federation
from demo.interrupts import Interrupted, raise_interrupted
from demo.options import TEST_FOLDER, OptionError
from superb_ks.recipe import recipe_in_words
from superb_node.command_line import whole_from
from superb_node.errors import DataError


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is asked for; returns 0, 1 if a run failed, 2 for a bad option, 130 for Ctrl-C."""
    options = _parser().parse_args(argv)
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        archives = find_archives(options.data, options.test_data)
        jobs = _chosen(options, archives is not None, console)
        if options.list:
            print("\n".join(job.name for job in jobs))
            return 0
        results = options.results or results_file(archives, options.quick)
        rows = ready_rows(results)
    except (OptionError, DataError) as error:
        console.print(str(error), markup=False)
        return 2
    todo = [job for job in jobs if options.again or not is_done(job, rows)]
    if len(todo) < len(jobs):
        console.print(f"{len(jobs) - len(todo)} of {len(jobs)} rows are there (--again: repeat them)")
    try:
        with raise_interrupted():
            failed = Comparison(archives, results, console).run(todo)
            return show_report(results) or failed
    except Interrupted as interrupted:
        console.print("interrupted; the finished rows are kept, and are not run again", style="yellow")
        return interrupted.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="", help="folder of the training archive")
    parser.add_argument("--test-data", default="", help=f"of the test archive; {TEST_FOLDER} next to --data")
    parser.add_argument("--only", default="", metavar="TEXT", help="runs whose name has the text in it")
    parser.add_argument(
        "--seeds", type=whole_from(0), nargs="+", help="of every row; else 1, 3 or 5 of them, from 0"
    )
    switch: dict[str, Any] = dict(nargs="?", const=True, default=False, type=_switch)
    parser.add_argument("--quick", **switch, help="the main rows, one seed: 0 | 1")
    parser.add_argument("--again", **switch, help="also what is in the results: 0 | 1")
    parser.add_argument("--list", action="store_true", help="print the runs and do nothing")
    parser.add_argument("--results", type=Path, help="file of the rows")
    return parser


def _switch(text: str) -> bool:
    """Read what `make` hands on: empty, 0 or 1."""
    if text not in ("", "0", "1"):
        raise argparse.ArgumentTypeError(f"{text!r}; legal: 0, 1")
    return text == "1"


def _chosen(options: argparse.Namespace, real_speech: bool, console: Console) -> list[Job]:
    """Return the runs that are asked for and possible; say what is left out."""
    seeds = options.seeds or ([0] if options.quick else None)
    jobs = [job for job in plan(seeds, main_rows=options.quick) if options.only in job.name]
    if not jobs:
        raise OptionError(f"--only {options.only}: in no run's name; --list prints them")
    possible = [job for job in jobs if real_speech or job.data != REAL]
    if len(possible) < len(jobs):
        told = "rows on real speech need --data FOLDER (make compare DATA=FOLDER)"
        if not possible:
            raise OptionError(f"--only {options.only}: {told}")
        console.print(f"left out: {told}")
    return possible


class Comparison:
    """Does runs and keeps their rows.

    Args:
        archives: of the runs on real speech.
        results: file of the rows.
        console: where to say how it goes.
    """

    def __init__(self, archives: Archives | None, results: Path, console: Console) -> None:
        self._archives = archives
        self._results = results
        self._console = console
        self._commit = commit()
        self._failed = 0
        self._told: set[tuple[str, str]] = set()
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            console=console, transient=True,
        )  # fmt: skip
        self._bar = self._progress.add_task("")

    def run(self, jobs: Sequence[Job]) -> int:
        """Do all runs: those without a federation, then the others, which share its processes.

        Returns:
            The exit code: 1 if a run failed, else 0.
        """
        federated = [job for job in jobs if job.regime == FEDERATED]
        with self._progress:
            self._progress.update(self._bar, total=len(jobs))
            self._run_alone([job for job in jobs if job.regime != FEDERATED])
            for _, group in itertools.groupby(federated, key=lambda job: job.federation):
                self._run_federation(list(group))
        self._console.print(f"rows are in {os.path.relpath(self._results)}; {self._failed} runs failed")
        return 1 if self._failed else 0

    def _run_alone(self, jobs: Sequence[Job]) -> None:
        """Do the runs without a federation, next to each other."""
        if not jobs:
            return
        self._progress.update(self._bar, description="without a federation")
        for job in jobs:
            self._tell_recipe(job)
        runs = [(job, shard_params(job, self._archives)) for job in jobs]
        for (job, _), future in side_by_side(compare_local.run, runs):
            self._attempt(job, future.result)

    def _run_federation(self, jobs: Sequence[Job]) -> None:
        """Do the federated runs of one data, partition and number of envoys."""
        self._progress.update(self._bar, description=f"starting {jobs[0].envoys} envoys")
        params = shard_params(jobs[0], self._archives)
        with tempfile.TemporaryDirectory(prefix="compare-") as folder:
            federation = Federation(Path(folder), envoys=jobs[0].envoys, shard_params=params)
            done = 0
            try:
                with federation:
                    for job in jobs:
                        self._progress.update(self._bar, description=job.name)
                        self._tell_recipe(job)
                        self._attempt(job, partial(compare_federated.run, job, federation))
                        done += 1
            except DemoError as error:
                left = jobs[done:]
                self._failed += len(left)
                self._progress.advance(self._bar, len(left))
                names = ", ".join(job.name for job in left)
                self._console.print(f"{error}\nnot run to the end: {names}", style="red", markup=False)

    def _attempt(self, job: Job, run: Callable[[], dict[str, Any]]) -> None:
        """Get the row of a run and keep it; of a run that fails, say why and go on."""
        try:
            row = run()
        except DemoError:
            raise  # a process of the federation has ended: nothing more can be run on it
        except Exception as error:
            self._failed += 1
            self._console.print(f"{job.name}: {type(error).__name__}: {error}", style="red", markup=False)
        else:
            keep_row({**row, "commit": self._commit}, self._results)
            self._console.print(
                f"{job.name}: test accuracy {row['test_accuracy']:.1%} of {row['test_clips']:,} clips, "
                f"{row['bytes'] / 1e6:.1f} MB sent by an envoy"
            )
        self._progress.advance(self._bar)

    def _tell_recipe(self, job: Job) -> None:
        """Say by which recipe a run trains, unless another run of the same tuning has said it."""
        settings = job.settings()
        choices = settings.to_dict()
        if job.strategy is None:  # the settings have one all the same
            del choices["strategy"]
        recipe = recipe_in_words(vars(settings.complete_recipe), choices)
        if (job.tuning, recipe) not in self._told:
            self._told.add((job.tuning, recipe))
            self._console.print(f"{job.name}, recipe: {recipe}", markup=False)
