"""The memory of a simulation, of 200 clients and of 2,000.

The largest sum of the proportional set sizes of all processes of a simulation, read every second. Ten clients
train in a round; each client has one speaker with ten short clips.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.engines.simulated import simulate
from simulation.options import parse_options
from tests.support.many_speakers import write_many_speakers

DRAWN = 10
MAX_GIB, MAX_GROWTH = 6, 1.1
"""The most memory of 200 clients, and the most times that of 2,000."""


def memory_figures() -> dict[str, Any]:
    """Return the largest memory of 200 and of 2,000 clients, in MiB, and their ratio."""
    peaks = {}
    for clients in (200, 2000):
        evaluating = clients // 8
        training = clients - 2 * evaluating
        with tempfile.TemporaryDirectory() as folder:
            archive = write_many_speakers(Path(folder), training, evaluating, evaluating)
            given = {"clients": clients, "fraction": DRAWN / training, "evaluate": DRAWN / evaluating}
            named = [f"--{name}={value}" for name, value in {**given, "rounds": 2, "data": archive}.items()]
            peaks[clients] = simulate(parse_options(named))[1]
    growth = round(peaks[2000] / peaks[200], 3)
    mib = {f"{clients}_clients_mib": round(peak / 2**20) for clients, peak in peaks.items()}
    good = peaks[200] <= MAX_GIB * 2**30 and growth <= MAX_GROWTH
    return {**mib, "growth": growth, "good": good}
