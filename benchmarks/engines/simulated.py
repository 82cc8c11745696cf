"""A simulation of a benchmark: its records, and the memory of its processes."""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from simulation.engine import Engine
from simulation.options import Options
from superb_ks.run_files import FINISHED, RECORDS, STATUS


def simulate(options: Options) -> tuple[list[dict[str, Any]], int]:
    """Run a simulation; returns its records, and the largest sum of its processes' memory in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        output, most, looked = Path(folder) / "output", 0, 0.0
        with Engine(Path(folder) / "flower", Path(folder), options.clients, options.workers) as engine:
            for _ in engine.run({**options.run_config, "output": str(output)}):
                if time.monotonic() - looked > 1:
                    most, looked = max(most, memory_of(engine.groups)), time.monotonic()
            if not (output / STATUS).exists() or (output / STATUS).read_text(encoding="utf-8") != FINISHED:
                raise RuntimeError(f"the simulation failed:\n{engine.log_tail()}")
        return [
            json.loads(line) for line in (output / RECORDS).read_text(encoding="utf-8").splitlines()
        ], most


def memory_of(groups: set[int]) -> int:
    """Return the sum of the proportional set sizes of process groups, in bytes."""
    total = 0
    for process in psutil.process_iter():
        try:
            total += process.memory_full_info().pss if os.getpgid(process.pid) in groups else 0
        except (psutil.Error, OSError):
            continue
    return total
