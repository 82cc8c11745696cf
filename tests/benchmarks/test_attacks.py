"""What docs/reliability.md says that each strategy survives is what was measured, and what happens."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.attacks.attacks import ATTACKS, MAX_CLIPS
from benchmarks.attacks.federation import COLUMNS, experiment
from benchmarks.attacks.report import MARGIN, load, mean_accuracies, survives, table

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"

ROBUST = {"median", "trimmed_mean", "trimmed_mean 0.4"}
ALL, CLIPPED = set(COLUMNS), {"fedavg, private"}
# By attack and number of liars among five: who survives.
SURVIVORS = {
    ("beyond", 1): ALL,
    ("beyond", 2): ALL,
    ("huge", 1): ROBUST | CLIPPED,
    ("huge", 2): ROBUST - {"trimmed_mean"} | CLIPPED,  # it drops one value at each end
    ("huge_once", 1): ROBUST | CLIPPED,
    ("flip_1", 1): ALL,
    ("flip_10", 1): ROBUST | CLIPPED,
    ("flip_10", 2): set(),
    ("clips", 1): ALL,
    ("clips_and_card", 1): ROBUST | CLIPPED,
    ("noise_0.1", 2): ALL,
    ("noise_10", 2): ROBUST - {"trimmed_mean"} | CLIPPED,
}


def test_the_page_has_the_table_of_what_was_measured() -> None:
    assert table(load()) in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize(("attack", "liars"), SURVIVORS)
def test_who_survives_in_what_was_measured(attack: str, liars: int) -> None:
    means = mean_accuracies(load())
    assert {column for column in COLUMNS if survives(means, column, attack, liars)} == SURVIVORS[
        attack, liars
    ]


@pytest.mark.parametrize("column", COLUMNS)
def test_who_survives_now(openfl_put_back: None, column: str) -> None:
    """One seed and fewer rounds than were measured, of the attacks that tell the strategies apart."""
    honest = experiment(column, "none", 0, seed=0, rounds=10)
    assert honest.accuracy > 0.85 and honest.failure is None
    for attack, liars in (("beyond", 2), ("huge", 1), ("huge", 2), ("clips", 1), ("clips_and_card", 1)):
        outcome = experiment(column, attack, liars, seed=0, rounds=10)
        assert outcome.failure is None, "the experiment goes on"
        assert outcome.refused == (10 * liars if attack == "beyond" else 0)
        expected = column in SURVIVORS[attack, liars]
        assert (outcome.accuracy >= honest.accuracy - MARGIN) == expected, (attack, liars, outcome)


def test_the_lies_by_hand() -> None:
    start, honest = np.float32([1, 2]), np.float32([3, 1])
    draws = np.random.default_rng(0), np.random.default_rng(1)
    lies = {name: attack.lie(start, honest, *draws) for name, attack in ATTACKS.items()}
    assert lies["none"].tolist() == [3, 1]
    assert lies["flip_1"].tolist() == lies["clips"].tolist() == [-1, 3]
    assert lies["flip_10"].tolist() == [-19, 12]
    assert np.abs(lies["huge"]).tolist() == pytest.approx([0.99e12] * 2)
    assert np.abs(lies["beyond"]).tolist() == pytest.approx([1.01e12] * 2)
    assert 0 < np.abs(lies["noise_1"] - honest).max() < 6
    assert ATTACKS["clips"].clips == ATTACKS["clips_and_card"].clips == MAX_CLIPS
    assert [ATTACKS["huge_once"].is_told(number) for number in (4, 5, 6)] == [False, True, False]
