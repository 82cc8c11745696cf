"""Trainings side by side end with the command that started them, and one that dies is told."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.compare import local
from benchmarks.compare.data import find_archives, shard_params
from benchmarks.compare.plan import CENTRALISED, REAL, Job, Work
from benchmarks.workers import side_by_side
from superb_node.envoy.threads import usable_cores

ROOT = Path(__file__).resolve().parents[2]
LONG = Job(REAL, CENTRALISED, model="scratch", work=Work(500, 1))
SHORT = replace(LONG, work=Work(1, 1))


def report_and_sleep() -> None:
    """Run in a process of its own."""
    print("works", flush=True)
    time.sleep(600)


def until(what: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
def test_nothing_goes_on_when_the_rows_are_no_longer_asked_for(small_corpus: Path) -> None:
    params = shard_params(SHORT, find_archives(str(small_corpus)))
    runs = side_by_side(local.run, [(SHORT, params), (LONG, params), (replace(LONG, seed=1), params)])
    (job, _), future = next(runs)
    assert job == SHORT and future.result()["test_clips"] > 0
    assert multiprocessing.active_children()
    started = time.monotonic()
    runs.close()
    assert time.monotonic() - started < 10
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_a_process_that_dies_fails_its_run_and_nothing_waits_for_it(small_corpus: Path) -> None:
    params = shard_params(LONG, find_archives(str(small_corpus)))
    runs = side_by_side(local.run, [(SHORT, params), (LONG, params)])
    next(runs)
    for process in multiprocessing.active_children():
        os.kill(process.pid or 0, signal.SIGKILL)
    (job, _), future = next(runs)
    assert job == LONG
    with pytest.raises(BrokenProcessPool):
        future.result()
    assert next(runs, None) is None
    until(lambda: not multiprocessing.active_children())


@pytest.mark.slow
def test_nothing_goes_on_when_the_command_is_killed() -> None:
    command = (
        "from benchmarks.workers import side_by_side\n"
        "from tests.benchmarks.test_workers import report_and_sleep\n"
        "next(side_by_side(report_and_sleep, [(), ()]))"
    )
    with subprocess.Popen([sys.executable, "-c", command], stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        for _ in range(min(2, usable_cores())):
            assert process.stdout.readline() == b"works\n"
        process.kill()
        process.communicate(timeout=60)  # until nobody is left who could write
