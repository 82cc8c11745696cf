"""How well many speakers learn, of whom few take part in a round, beside four envoys and one place.

    python -m benchmarks.speakers [--data path/to/speech_commands_v0.01] [--seeds 0 1 2]

Each row trains all weights on the same clips, with about as many passes over them. All rows run in Flower's
simulation, which ends with the same bits as director and envoys (`docs/two-engines.md`): one client is
training in one place, four are four envoys. What is finished is kept in `runs/simulations/`, and not run
again.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.compare.results import commit
from benchmarks.transport.result import merge, now
from demo.speech import make_synthetic_speech
from simulation.notebook import simulate
from superb_ks.settings import Recipe, Settings
from tests.support.machine import machine

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "speakers.json"
SPEAKERS = 200
"""Of the synthetic speech; 150 of them have clips to train on."""


@dataclass(frozen=True)
class Row:
    """One way to train.

    Attributes:
        clients: how many share the training clips.
        partition: who has which.
        fraction: the share of the clients with training clips that train in a round.
        rounds, epochs: of the federation, and of a client in a round.
    """

    clients: int
    partition: str
    fraction: float
    rounds: int
    epochs: int

    @property
    def passes(self) -> float:
        """How often each clip is trained on, on average."""
        return self.rounds * self.epochs * self.fraction


SYNTHETIC = {
    "each speaker a client, 10 a round": Row(SPEAKERS, "speaker", 10 / 150, 20, 2),
    "4 envoys, by speaker": Row(4, "speaker", 1.0, 3, 1),
    "all clips in one place": Row(1, "iid", 1.0, 3, 1),
}
REAL = {
    "each speaker a client, 16 a round": Row(254, "speaker", 16 / 162, 60, 2),
    "4 envoys, by speaker": Row(4, "speaker", 1.0, 12, 1),
    "all clips in one place": Row(1, "iid", 1.0, 4, 3),
}


def main(argv: list[str] | None = None) -> int:
    """Train, print and keep the accuracies."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, help="training archive of real speech, the test archive beside it"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args(argv)
    measured = commit()
    archives = {f"{SPEAKERS} synthetic speakers": (SYNTHETIC, None)}
    if given.data is not None:
        archives["real sample"] = (REAL, given.data)
    for name, (rows, data) in archives.items():
        folder = data or made_speech()
        for way, row in rows.items():
            figures = {"passes": round(row.passes, 1), "test_accuracy": accuracies(row, folder, given.seeds)}
            print(f"{name}, {way}: {figures}", flush=True)
            about = {"seeds": given.seeds, "date": now(), "commit": measured, "machine": machine()}
            merge(f"{name}, {way}", {**figures, **about}, RESULTS)
    return 0


def made_speech() -> Path:
    """Make the synthetic speech, the same for all seeds of the training; returns the training archive."""
    (archive,) = make_synthetic_speech(0, "--speakers", str(SPEAKERS)).glob("speech_commands_v*")
    return archive


def accuracies(row: Row, data: Path, seeds: list[int]) -> dict[str, float | list[float]]:
    """Train with each seed; returns the test accuracies, their mean and their standard deviation."""
    found = []
    for seed in seeds:
        settings = Settings(
            recipe=Recipe(epochs_per_round=row.epochs),
            rounds=row.rounds,
            fraction=row.fraction,
            seed=seed,
            runs_dir=str(ROOT / "runs"),
        )
        history = simulate(settings, row.clients, partition=row.partition, data=str(data))
        assert history.test is not None, "what has finished was tested"
        found.append(round(history.test.accuracy, 4))
        print(f"  seed {seed}: {history.test}", flush=True)
    spread = statistics.stdev(found) if len(found) > 1 else 0.0
    return {"each": found, "mean": round(statistics.mean(found), 4), "deviation": round(spread, 4)}


if __name__ == "__main__":
    sys.exit(main())
