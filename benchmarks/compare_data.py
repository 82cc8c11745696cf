"""The clips of a run: what its envoys' shard descriptors are told, and a cache that starts empty."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.compare_plan import ALPHA, POOLED, REAL, SYNTHETIC, Job
from demo.envoy_config import ShardValue
from demo.options import TEST_FOLDER

PARTITION_SEED = 0
CACHE = "SUPERB_CACHE"


def shard_params(job: Job, data: Path | None) -> dict[str, ShardValue]:
    """Return the shard descriptor's parameters for a run, but for the rank."""
    params: dict[str, ShardValue] = {"source": SYNTHETIC, "seed": PARTITION_SEED}
    if job.data == REAL:
        params |= {"source": "folder", "data_dir": str(data), "test_dir": str(data.parent / TEST_FOLDER)}
    if job.partition != POOLED:
        params["partition"] = job.partition
    if job.partition == "dirichlet":
        params["alpha"] = ALPHA
    return params


@contextmanager
def own_cache(job: Job, folder: Path) -> Iterator[None]:
    """Give this process, and those that it starts, a cache of their own for runs on real speech.

    The synthetic speech lies in the user's cache, and no run on it tunes a head.
    """
    before = os.environ.get(CACHE)
    if job.data == REAL:
        os.environ[CACHE] = str(folder)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(CACHE, None)
        else:
            os.environ[CACHE] = before


def forget_hidden_states(folder: Path) -> None:
    """Let every run compute its clips' hidden states itself: a head's first pass is part of its time."""
    shutil.rmtree(folder / "hidden-states", ignore_errors=True)
