"""Trainings next to each other: each in a process of its own, on one thread.

A second thread is of little use to the tiny model: on 2 cores, twelve epochs of 1,480 clips took 205 s on
both, and two such runs next to each other 251 s (AMD EPYC without AVX-512, 2026-12-01, commit 751e3e1).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from typing import Any, TypeVar

import torch
import transformers

from superb_node.envoy.threads import usable_cores

T = TypeVar("T")


def side_by_side(
    function: Callable[..., T], calls: Sequence[tuple[Any, ...]]
) -> Generator[tuple[tuple[Any, ...], Future[T]], None, None]:
    """Make calls of a function, as many at a time as there are cores to use.

    Args:
        function: of a module, so that another process finds it.
        calls: the arguments of each.

    Yields:
        The arguments of each call that is done, and the future of what it returned, in the order in which
        they end.
    """
    if not calls:
        return
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    pool = ProcessPoolExecutor(min(len(calls), usable_cores()), context, _prepare)
    try:
        made = {pool.submit(function, *call): call for call in calls}
        for future in as_completed(made):
            yield made[future], future
    except BaseException:  # also when nobody asks for the next one: do not wait for what runs
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare() -> None:
    """Make ready a process: it trains on one thread, says nothing, and Ctrl-C or its parent's end ends it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when its parent has ended, which one that is killed cannot see to."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
