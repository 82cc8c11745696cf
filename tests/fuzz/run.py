"""Send director, aggregator and the archive reader what no client would send, and count what they answer.

python -m tests.fuzz [--inputs 50000] [--seed 0] [--json PATH]

Most inputs go to the services' own methods in this process, as gRPC would call them. A twentieth goes to real
ports, of a federation whose experiment has to finish as if nothing had been there (`fuzz_live.py`).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import psutil

from demo.interrupts import raise_interrupted
from tests.fuzz.live import attack_ports
from tests.fuzz.targets import targets
from tests.support.lab import Lab
from tests.support.machine import machine

ROOT = Path(__file__).resolve().parents[2]

# Not fuzz.json: that is the data room's, which is written whole by tests/speech_commands/test_fuzz.py.
RESULTS = ROOT / "benchmarks" / "results" / "fuzz_services.json"
SECONDS_AN_INPUT = 30.0
MOST_GROWTH_MIB = 64.0
LIVE_SHARE = 0.05


class Hang(BaseException):
    """An input took longer than a deadline that nothing honest comes near."""


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raise `Hang` in the main thread if the context takes longer."""

    def ring(*_: Any) -> None:
        raise Hang(f"more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def fuzz_in_process(inputs: int, seed: int, folder: Path) -> tuple[Counter[str], list[str], float]:
    """Call the services' methods; returns outcomes, flaws with their tracebacks, and MiB of growth.

    Args:
        inputs: how many.
        seed: the same gives the same inputs.
        folder: everything is written inside; the working folder meanwhile.
    """
    outcomes: Counter[str] = Counter()
    flaws: list[str] = []
    before, inside = Path.cwd(), folder / "inside"
    inside.mkdir()
    os.chdir(inside)
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")  # names that occur twice in an archive are meant
    try:
        chosen = targets(seed, inside)
        draw = random.Random(seed)
        weights = [share for _, share in chosen]
        warm = 0
        for number in range(inputs):
            if number == inputs // 4:
                warm = psutil.Process().memory_info().rss
            (target, _) = draw.choices(chosen, weights)[0]
            try:
                with deadline(SECONDS_AN_INPUT):
                    outcomes[target.send()] += 1
            except (Exception, Hang):
                outcomes["flaw"] += 1
                flaws.append(f"input {number}, {type(target).__name__}\n{traceback.format_exc()}")
        grown = (psutil.Process().memory_info().rss - warm) / 2**20
        for target, _ in chosen:
            if hasattr(target, "close"):
                target.close()
    finally:
        logging.disable(logging.NOTSET)
        os.chdir(before)
    outside = [path for path in (*folder.iterdir(), Path("/outside")) if path != inside and path.exists()]
    flaws += [f"a file outside of the folder: {path}" for path in outside]
    return outcomes, flaws, grown


def figures(
    arguments: argparse.Namespace, seconds: float, outcomes: Counter[str], live: dict[str, Any], grown: float
) -> dict[str, Any]:
    """Return what is worth keeping."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "inputs": arguments.inputs,
        "seed": arguments.seed,
        "seconds": round(seconds, 1),
        "flaws": outcomes["flaw"],
        "grown_mib": round(grown, 1),
        "outcomes": dict(sorted(outcomes.items())),
        "experiment_meanwhile": live,
        "date": date.today().isoformat(),
        "commit": commit,
        "machine": machine(),
    }


def keep(result: dict[str, Any], path: Path) -> None:
    """Write the figures, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    os.replace(partial, path)


def main() -> int:
    """Run all; returns 1 if there was a flaw."""
    parser = argparse.ArgumentParser(description="Fuzz the services and the archive reader.")
    parser.add_argument("--inputs", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    live_inputs = round(LIVE_SHARE * arguments.inputs)
    started = time.monotonic()
    with raise_interrupted(), tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        outcomes, flaws, grown = fuzz_in_process(arguments.inputs - live_inputs, arguments.seed, Path(name))
        print(f"{outcomes.total()} inputs in this process, {time.monotonic() - started:.0f} s", flush=True)
        with Lab(Path(name) / "federation", envoys=2) as lab:
            lab.heal()
            found, live = attack_ports(lab, live_inputs, arguments.seed)
            lab.heal()  # the services still run an experiment
        outcomes += found
    result = figures(arguments, time.monotonic() - started, outcomes, live, grown)
    print(json.dumps(result, indent=1))
    for flaw in flaws[:20]:
        print(flaw, file=sys.stderr)
    if grown > MOST_GROWTH_MIB:
        print(f"memory grew by {grown:.0f} MiB", file=sys.stderr)
    keep(result, arguments.json)
    return int(bool(outcomes["flaw"] or flaws or grown > MOST_GROWTH_MIB))
