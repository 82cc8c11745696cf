"""Runs without a federation, next to each other: each in a process of its own, on one thread.

A second thread is of little use to the tiny model: on 2 cores, twelve passes over 1,480 clips took 205 s on
both, and two such runs next to each other 251 s (AMD EPYC without AVX-512, 2026-12-01, commit 751e3e1).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from typing import Any

import torch
import transformers

from benchmarks.compare import local
from benchmarks.compare.plan import Job
from demo.envoy_config import ShardValue

Run = tuple[Job, Mapping[str, ShardValue]]
"""A run, and the parameters of its shard descriptor."""


def run_alone(runs: Sequence[Run]) -> Generator[tuple[Job, Future[dict[str, Any]]], None, None]:
    """Do runs of the centralised or the local regime, as many at a time as there are cores.

    Yields:
        Each run that is done, with the future of its row, in the order in which they end.
    """
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    pool = ProcessPoolExecutor(min(len(runs), os.cpu_count() or 1), context, _prepare)
    try:
        jobs = {pool.submit(local.run, job, params): job for job, params in runs}
        for future in as_completed(jobs):
            yield jobs[future], future
    except BaseException:  # also when nobody asks for the next one: do not wait for what runs
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare() -> None:
    """Make ready a process: it trains on one thread, says nothing, and Ctrl-C ends it at once."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
