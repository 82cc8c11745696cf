"""Let a federation run for hundreds of rounds while its envoys are killed at random; count what gets lost.

python -m benchmarks.soak [--rounds 500] [--json PATH]
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from rich.progress import Progress

from demo.interrupts import raise_interrupted
from superb_ks.settings import Failures
from superb_node.command_line import whole_from
from superb_node.work_folder import replace_file
from superb_notebook.experiment import FederatedExperiment
from tests.support.lab import Lab, Record
from tests.support.sine_experiment import Script

ROOT = Path(__file__).resolve().parent.parent

ENVOYS = 3
ROUNDS_BETWEEN_KILLS = 10
TASK_SECONDS = 1.0
CUTOFF_SECONDS = 5.0


class Soak:
    """Follows one long experiment and kills an envoy, which starts again, every ten rounds."""

    def __init__(self, lab: Lab, rounds: int) -> None:
        self.lab, self.rounds = lab, rounds
        self._draw = random.Random(0)
        self._present = set(lab.envoy_names)
        self.closed: list[int] = []
        self.clips: list[float] = []
        self.killed: list[str] = []
        self.dropped = self.returned = 0
        self._killed_in = 0

    def take(self, record: Record) -> None:
        """Note a record, and kill when it is time."""
        task, origin = record["task_name"], record["metric_origin"]
        if task == "dropped":
            self.dropped += 1
            self._present.discard(origin)
        elif task == "returned":
            self.returned += 1
            self._present.add(origin)
        elif (task, origin, record["metric_name"]) == ("train", "aggregator", "clips"):
            self.closed.append(record["round"])
            self.clips.append(record["metric_value"])
            if record["round"] - self._killed_in >= ROUNDS_BETWEEN_KILLS and len(self._present) > 1:
                self._killed_in = record["round"]
                self._kill(self._draw.choice(sorted(self._present)))

    def _kill(self, name: str) -> None:
        self.killed.append(name)
        self.lab.kill(name)
        self.lab.restart(name)

    def figures(self, status: str, seconds: float, before: int, after: int) -> dict[str, Any]:
        """Return what is worth keeping."""
        return {
            "rounds": self.rounds,
            "status": status,
            "rounds_closed": len(self.closed),
            "rounds_lost": len(set(range(self.rounds)) - set(self.closed)),
            "kills": len(self.killed),
            "dropped": self.dropped,
            "returned": self.returned,
            "rounds_with_all_envoys": sum(clips == max(self.clips) for clips in self.clips),
            "seconds": round(seconds, 1),
            "director_mib_before": round(before / 2**20, 1),
            "director_mib_after": round(after / 2**20, 1),
        }


def run(lab: Lab, rounds: int) -> dict[str, Any]:
    """Run the soak on a healthy federation and return its figures."""
    lab.heal()
    soak, director = Soak(lab, rounds), psutil.Process(lab.processes["director"].pid)
    before, started = director.memory_info().rss, time.monotonic()
    experiment: FederatedExperiment = lab.submit(
        Script(seconds=dict.fromkeys(lab.ranks, TASK_SECONDS)),
        rounds=rounds,
        failures=Failures(round_timeout_seconds=CUTOFF_SECONDS),
    )
    with Progress() as progress:
        bar = progress.add_task("rounds", total=rounds)
        for record in experiment.records():
            soak.take(record)
            progress.update(bar, completed=len(soak.closed))
    seconds = time.monotonic() - started
    return soak.figures(experiment.status(), seconds, before, director.memory_info().rss)


def main() -> int:
    """Run the soak; returns 1 if a round was lost."""
    parser = argparse.ArgumentParser(description="Many rounds, with an envoy killed every ten.")
    parser.add_argument("--rounds", type=whole_from(1), default=500)
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "results" / "soak.json")
    arguments = parser.parse_args()
    with (
        raise_interrupted(),
        tempfile.TemporaryDirectory(prefix="soak-") as folder,
        Lab(Path(folder), ENVOYS) as lab,
    ):
        figures = run(lab, arguments.rounds)
    print(json.dumps(figures, indent=1))
    replace_file(arguments.json, (json.dumps(figures, indent=1) + "\n").encode())
    return 0 if figures["status"] == "finished" and figures["rounds_lost"] == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
