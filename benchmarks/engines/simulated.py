"""A simulation of a benchmark: its records, its seconds, and the memory of its processes."""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from simulation.engine import Engine
from simulation.options import Options
from superb_ks.run_files import FINISHED, RECORDS, STATUS


class Simulated(NamedTuple):
    """A simulation that has finished.

    Attributes:
        records: all that it recorded.
        seconds: from the start of Ray to the last record.
        memory: the largest sum of its processes' memory, in bytes; 0 if it was not read.
    """

    records: list[dict[str, Any]]
    seconds: float
    memory: int


def simulate(options: Options, memory: bool = False) -> Simulated:
    """Run a simulation, and read its memory if asked to: that takes time on the cores that train."""
    with tempfile.TemporaryDirectory() as folder:
        output, most, looked, started = Path(folder) / "output", 0, 0.0, time.time()
        with Engine(Path(folder) / "flower", Path(folder), options.clients, options.workers) as engine:
            for _ in engine.run({**options.run_config, "output": str(output)}):
                if memory and time.monotonic() - looked > 1:
                    most, looked = max(most, memory_of(engine.groups)), time.monotonic()
            if not (output / STATUS).exists() or (output / STATUS).read_text(encoding="utf-8") != FINISHED:
                raise RuntimeError(f"the simulation failed:\n{engine.log_tail()}")
        records = output / RECORDS
        lines = records.read_text(encoding="utf-8").splitlines()
        return Simulated([json.loads(line) for line in lines], records.stat().st_mtime - started, most)


def memory_of(groups: set[int]) -> int:
    """Return the sum of the proportional set sizes of process groups, in bytes."""
    total = 0
    for process in psutil.process_iter():
        try:
            total += process.memory_full_info().pss if os.getpgid(process.pid) in groups else 0
        except (psutil.Error, OSError):
            continue
    return total
