"""The comparison says by which recipes it trains, each once."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks.compare import plan
from benchmarks.compare import run as compare
from benchmarks.compare.plan import CENTRALISED, FEDERATED, SYNTHETIC, Job

WORK = plan.Work(2, 3)
ALONE = Job(SYNTHETIC, CENTRALISED, work=WORK)
TOGETHER = Job(SYNTHETIC, FEDERATED, "iid", 2, strategy="fedprox", work=WORK)


def no_training(job: Job, *_: Any) -> dict[str, Any]:
    if job.seed == 9:
        raise RuntimeError("nothing was trained")
    return {"test_accuracy": 0.5, "test_clips": 8, "bytes": 0}


def no_processes(
    function: Callable[..., dict[str, Any]], calls: Sequence[tuple[Any, ...]]
) -> Iterator[tuple[tuple[Any, ...], Future[dict[str, Any]]]]:
    pool = ThreadPoolExecutor(1)
    for call in calls:
        future = pool.submit(function, *call)
        wait([future])
        yield call, future


def test_every_recipe_is_told_when_its_first_run_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "side_by_side", no_processes)
    monkeypatch.setattr(compare.compare_federated, "run", no_training)
    monkeypatch.setattr(compare.compare_local, "run", no_training)
    monkeypatch.setattr(compare, "keep_row", lambda *_: None)
    monkeypatch.setattr(compare, "Federation", lambda *_, **__: nullcontext())
    output = io.StringIO()
    jobs = [
        *[replace(ALONE, seed=9), ALONE, replace(ALONE, tuning="lora")],
        *[TOGETHER, replace(TOGETHER, seed=1)],
    ]
    assert compare.Comparison(None, tmp_path / "rows.json", Console(file=output, width=300)).run(jobs)
    told = [line for line in map(str.rstrip, output.getvalue().splitlines()) if line]
    rate = "3 epochs a round, batches of 8, rate {} (warm-up 10 %, decay 0.01), speed +/-15 %, "
    rate += "time masks 10 %, feature masks 10 %"
    assert told[:-1] == [
        f"synthetic centralised tiny full seed 9, recipe: {rate.format(0.001)}",
        f"synthetic centralised tiny lora seed 0, recipe: {rate.format(0.004)}",
        "synthetic centralised tiny full seed 9: RuntimeError: nothing was trained",
        result_of("synthetic centralised tiny full seed 0"),
        result_of("synthetic centralised tiny lora seed 0"),
        "synthetic federated iid 2 tiny full fedprox seed 0, recipe: "
        f"{rate.format(0.001)}; strategy fedprox(mu=0.01)",
        result_of("synthetic federated iid 2 tiny full fedprox seed 0"),
        result_of("synthetic federated iid 2 tiny full fedprox seed 1"),
    ]


def result_of(name: str) -> str:
    return f"{name}: test accuracy 50.0% of 8 clips, 0.0 MB sent by an envoy"
