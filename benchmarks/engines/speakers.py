"""How well many speakers learn, of whom few take part in a round, beside four envoys and one place.

Each row trains all weights on the same clips, for about as many epochs. All rows run in Flower's
simulation: one client is training in one place, and four are four envoys, who would end with the same bits
(`docs/two-engines.md`) but for the order in which four updates are added. What is finished is kept in
`runs/simulations/`, and not run again.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from demo.speech import make_synthetic_speech
from simulation.notebook import simulate
from superb_ks.settings import Recipe, Settings

ROOT = Path(__file__).resolve().parents[2]
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


Archives = tuple[Path | None, Path | str | None]
"""Of training and of test clips, as `demo.options.archive_folders` returns them."""


def speaker_rows(real: Archives, seeds: Sequence[int]) -> dict[str, Callable[[], dict[str, Any]]]:
    """Return what trains each row.

    Args:
        real: folders of real speech; without them there are no rows of it.
        seeds: of the training.
    """
    archives: dict[str, tuple[dict[str, Row], Archives]] = {
        f"{SPEAKERS} synthetic speakers": (SYNTHETIC, (None, None))
    }
    if real[0] is not None:
        archives["real sample"] = (REAL, real)
    return {
        f"speakers, {name}, {way}": partial(speaker_figures, row, folders, seeds)
        for name, (rows, folders) in archives.items()
        for way, row in rows.items()
    }


def speaker_figures(row: Row, archives: Archives, seeds: Sequence[int]) -> dict[str, Any]:
    """Train with each seed; returns how often each clip is trained on, and the test accuracies."""
    data, test_data = archives
    found = accuracies(row, str(data or made_speech()), str(test_data) if test_data else None, seeds)
    return {"passes": round(row.passes, 1), "test_accuracy": found, "seeds": list(seeds)}


def made_speech() -> Path:
    """Make the synthetic speech, the same for all seeds of the training; returns the training archive."""
    (archive,) = make_synthetic_speech(0, "--speakers", str(SPEAKERS)).glob("speech_commands_v*")
    return archive


def accuracies(
    row: Row, data: str, test_data: str | None, seeds: Sequence[int]
) -> dict[str, float | list[float]]:
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
        history = simulate(settings, row.clients, partition=row.partition, data=data, test_data=test_data)
        assert history.test is not None, "what has finished was tested"
        found.append(round(history.test.accuracy, 4))
        print(f"  seed {seed}: {history.test}", flush=True)
    spread = statistics.stdev(found) if len(found) > 1 else 0.0
    return {"each": found, "mean": round(statistics.mean(found), 4), "deviation": round(spread, 4)}
