"""Send director, aggregator and the owner's review what no client would send, and count what they answer.

python -m tests.fuzz [--inputs 50000] [--seed 0] [--json PATH]

Most inputs go to the services' own methods in this process, as gRPC would call them. A twentieth goes to real
ports, of a federation whose experiment has to finish as if nothing had been there (`live.py`).
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import json
import logging
import os
import signal
import subprocess
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import psutil
from hypothesis import strategies as st

from demo.interrupts import raise_interrupted
from tests.fuzz.inputs import Strategy, try_examples
from tests.fuzz.live import attack_ports
from tests.fuzz.targets import TARGETS, Target
from tests.support.lab import Lab
from tests.support.machine import machine

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "fuzz_services.json"
INPUT_TIMEOUT_SECONDS = 30.0
MAX_GROWTH_MIB = 64.0
LIVE_SHARE = 0.05
# Hypothesis and the services remember what they were sent: after so many inputs there are new ones.
BATCH = 2000
MAX_FLAW_LETTERS = 20_000


class Hang(BaseException):
    """An input took longer than a deadline that nothing honest comes near."""


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raise an error in the main thread if the context takes longer, past all that catch an `Exception`."""

    def ring(*_: Any) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except Hang as hang:
        raise TimeoutError(f"more than {seconds:g} s") from hang
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def fuzz_in_process(inputs: int, seed: int) -> tuple[Counter[str], list[str], float]:
    """Call the services' methods; returns outcomes, flaws, and MiB of growth after the first quarter.

    Everything is written inside the working folder, which has a folder of its own around it.

    Args:
        inputs: how many; more if there is a flaw.
        seed: the same gives the same inputs.
    """
    outcomes, flaws, targets, warm = Counter[str](), list[str](), dict(TARGETS), 0.0
    for start in range(0, inputs, BATCH):
        for target, share in list(targets.items()):
            count = round(share * min(BATCH, inputs - start))
            flaw = fuzz_target(target, count, f"{seed} {target.__name__} {start}", outcomes)
            if flaw:
                flaws.append(flaw)
                del targets[target]  # the next batches would find it again
        if start <= inputs / 4:
            warm = resident_mib()
    grown = resident_mib() - warm
    around = (path for path in Path("..").resolve().iterdir() if path != Path.cwd())
    outside = [path for path in (*around, Path("/outside")) if path.exists()]
    return outcomes, flaws + [f"a file outside of the folder: {path}" for path in outside], grown


def fuzz_target(target: Target, count: int, seed: str, outcomes: Counter[str]) -> str:
    """Send inputs to a target; returns its flaw, or nothing.

    A flaw is told with the input that led to it first, and if it repeats, with one made as small as may be.
    """
    failed: list[list[Any]] = []
    with tempfile.TemporaryDirectory(dir=".") as name, target(Path(name).resolve()) as send:

        def example(data: Any) -> None:
            drawn: list[Any] = []

            def draw(strategy: Strategy) -> Any:
                drawn.append(data.draw(strategy))
                return drawn[-1]

            try:
                with deadline(INPUT_TIMEOUT_SECONDS):
                    outcomes[send(draw)] += 1
            except Exception:
                failed.append(drawn)
                raise

        try:
            try_examples(st.data(), example, count, seed)
        except Exception:
            return f"{target.__name__}, after {repr(failed[:1])[:5000]}\n{traceback.format_exc()}"
    return ""


def resident_mib() -> float:
    """Return this process's memory, without what is free."""
    gc.collect()
    with contextlib.suppress(AttributeError):  # on Linux, gives back what long messages leave in the heap
        ctypes.CDLL(None).malloc_trim(0)
    return float(psutil.Process().memory_info().rss) / 2**20


def main() -> int:
    """Run all; returns 1 if there was a flaw."""
    parser = argparse.ArgumentParser(description="Fuzz the services and the reader of experiments.")
    parser.add_argument("--inputs", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=lambda path: Path(path).resolve(), default=RESULTS)
    arguments = parser.parse_args()
    live_inputs = round(LIVE_SHARE * arguments.inputs)
    started = time.monotonic()
    logging.disable(logging.CRITICAL)
    with raise_interrupted(), tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        inside = Path(name) / "around" / "inside"
        inside.mkdir(parents=True)
        os.chdir(inside)
        outcomes, flaws, grown = fuzz_in_process(arguments.inputs - live_inputs, arguments.seed)
        os.chdir(ROOT)
        print(f"{outcomes.total()} inputs in this process, {time.monotonic() - started:.0f} s", flush=True)
        with Lab(Path(name) / "federation", envoys=2) as lab:
            lab.heal()
            live_outcomes, live_flaws, live = attack_ports(lab, live_inputs, arguments.seed)
            lab.heal()  # the services still run an experiment
    outcomes += live_outcomes
    flaws += live_flaws
    if grown > MAX_GROWTH_MIB:
        flaws.append(f"memory grew by {grown:.0f} MiB")
    commit = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    result = {
        "inputs": outcomes.total(),
        "seed": arguments.seed,
        "seconds": round(time.monotonic() - started, 1),
        "flaws": len(flaws),
        "grown_mib": round(grown, 1),
        "outcomes": dict(sorted(outcomes.items())),
        "experiment_meanwhile": live,
        "date": date.today().isoformat(),
        "commit": subprocess.run(commit, capture_output=True, text=True, check=False).stdout.strip(),
        "machine": machine(),
    }
    text = json.dumps(result, indent=2)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(text + "\n", encoding="utf-8")
    print("\n".join((text, *(flaw[:MAX_FLAW_LETTERS] for flaw in flaws[:20]))))
    return int(bool(flaws))
