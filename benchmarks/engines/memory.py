"""The memory of a simulation, of 200 clients and of 2,000.

The largest sum of the proportional set sizes of all processes of a simulation, read every second; of several
simulations the median. Ten clients train in each of five rounds. Each has one speaker, with ten clips of one
second. Memory follows the number of workers: that of the cores, if as many clients are asked at a time.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.engines.simulated import simulate
from simulation.options import parse_options
from tests.support.many_speakers import write_many_speakers

DRAWN, ROUNDS, CLIP_SECONDS = 10, 5, 1.0
MAX_GIB, MAX_GROWTH = 6, 1.1
"""The most memory of 200 clients, and the most times that of 2,000."""


def memory_figures(repeats: int) -> dict[str, Any]:
    """Return the largest memory of 200 and of 2,000 clients, in MiB, their ratio, and how many workers."""
    peaks, workers = {}, 0
    for clients in (200, 2000):
        evaluating = clients // 8
        training = clients - 2 * evaluating
        with tempfile.TemporaryDirectory() as folder:
            archive = write_many_speakers(Path(folder), training, evaluating, evaluating, CLIP_SECONDS)
            given = {"clients": clients, "fraction": DRAWN / training, "evaluate": DRAWN / evaluating}
            named = [
                f"--{name}={value}" for name, value in {**given, "rounds": ROUNDS, "data": archive}.items()
            ]
            options = parse_options(named)
            peaks[clients] = statistics.median(simulate(options, memory=True).memory for _ in range(repeats))
            workers = options.workers  # the same for both
    growth = round(peaks[2000] / peaks[200], 3)
    mib = {f"{clients}_clients_mib": round(peak / 2**20) for clients, peak in peaks.items()}
    good = peaks[200] <= MAX_GIB * 2**30 and growth <= MAX_GROWTH
    return {**mib, "growth": growth, "workers": workers, "good": good}
