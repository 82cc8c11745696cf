"""The comparison's report on a small results file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.compare import report as report_compare
from benchmarks.compare import tables
from benchmarks.compare.plan import plan
from benchmarks.compare.results import ENTRIES, RESULTS, identity, load_rows
from tests.benchmarks.few_clip_rows import few_clip_rows
from tests.workspace.comparison_rows import comparison_row, small_comparison


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return write(small_comparison(), tmp_path)


def write(rows: list[dict[str, Any]], folder: Path) -> Path:
    """Write rows as runs of today have them; what they were given besides the sample's stays."""
    jobs, sample = {job.identity[:-1]: job for job in plan([0])}, comparison_row("centralised", 0.5)
    for row in rows:
        job = jobs[identity(row)[:-1]]
        today = {"checkpoint": job.checkpoint, "recipe": job.recipe, "rounds": job.work.rounds}
        row |= {name: value for name, value in today.items() if row[name] == sample[name]}
    path = folder / "compare.json"
    path.write_text(json.dumps({"rows": rows}))
    return path


def test_the_sample_has_the_schema_of_real_rows() -> None:
    assert set(comparison_row("federated", 0.5, share=1.0)) == {*ENTRIES, "commit"}


@pytest.mark.slow
def test_report_prints_all_tables_and_draws(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report_compare.main([str(results)]) == 0
    printed = capsys.readouterr().out
    for line in (
        "| centralised | – | full | 89.0 ± 1.4 % | 89.0 % | 2 | – | – | – | – | – |",
        "| federated | 2 iid | full | 87.0 ± 1.4 % | 87.0 % | 2 | +2.0 | 1.4 | – | – | 2.00 |",
        "| federated | 2 iid | lora | 85.0 % | 85.0 % | 1 | – | – | +2.0 | – | 2.00 |",
        "| local | 2 iid | full | 72.0 ± 2.8 % | 72.0 % | 2 | +17.0 | 2.2 | – | – | – |",
        "| fedprox | 80.0 % | 80.0 % | 80.0 % | 1 | +0.0 | – | +9.0 | – |",
        "| median | 86.0 % | 86.0 % | 86.0 % | 1 | +1.0 | – | +3.0 | – |",
        "| fedavg | 87.0 % | 10.0 % | 77.0 | 1 |",
        "| median | 86.0 % | 84.0 % | 2.0 | 1 |",
        "| iid | env_one | 30 | 10 | 87.0 % | 92.0 % | 72.0 % | 2 |",
        "| scratch | 2 iid | 3 | 60.0 % | 60.0 % | 1 | 2.00 |",
        "16 runs, 2030-01-02, commit abc1234, 2 cores of a processor.",
    ):
        assert line in printed
    for ending in ("png", "svg"):
        assert (tmp_path / f"compare.{ending}").stat().st_size > 10_000
    assert len(list(tmp_path.iterdir())) == 3


def test_a_distance_has_the_standard_error_of_two_independent_samples() -> None:
    """By hand: deviations of 2.0 points (three seeds) and 1.4142 points (two), hypot(2 / √3, 1.4142 / √2)."""
    rows = [comparison_row("centralised", 0.90 + 0.02 * seed, seed) for seed in (-1, 0, 1)]
    rows += [comparison_row("federated", 0.86 + 0.02 * seed, seed) for seed in (0, 1)]
    assert "| 87.0 ± 1.4 % | 87.0 % | 2 | +3.0 | 1.5 |" in tables.regimes_table(rows)
    skewed = dict(partition="dirichlet", envoys=4)
    rows = [comparison_row("federated", 0.90 + 0.02 * seed, seed, **skewed) for seed in (-1, 0, 1)]
    rows += [comparison_row("federated", 0.92 + 0.02 * s, s, strategy="median", **skewed) for s in (0, 1)]
    rows.append(comparison_row("federated", 0.85, strategy="fedprox", **skewed))
    rows[-1]["validation_accuracy"] = 0.95  # a strategy is chosen by it, and comes first
    rows += [comparison_row("centralised", 0.96, seed) for seed in (0, 1)]
    assert tables.strategies_table(rows, "dirichlet").splitlines()[2:] == [
        "| fedprox | 95.0 % | 85.0 % | 85.0 % | 1 | +5.0 | – | +11.0 | – |",
        "| median | 93.0 % | 93.0 ± 1.4 % | 93.0 % | 2 | -3.0 | 1.5 | +3.0 | 1.0 |",
        "| fedavg | 90.0 % | 90.0 ± 2.0 % | 90.0 % | 3 | – | – | +6.0 | 1.2 |",
    ]
    assert tables.strategies_table(rows, "iid").count("\n") == 1


def test_rows_of_few_clips_have_a_table_and_a_figure_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others, rows = small_comparison(), [*small_comparison(), *few_clip_rows()]
    made, title = tables.tables(rows), "Few training clips, real speech"
    assert made.pop(title).splitlines() == [
        "| share | training clips | epochs | tiny, centralised | tiny, 4 speaker "
        "| scratch, centralised | scratch, 4 speaker | seeds |",
        "|---|---|---|---|---|---|---|---|",
        "| 5 % | 3 | 8 | 41.0 ± 1.4 % | 31.0 ± 1.4 % | 11.0 ± 1.4 % | 1.0 ± 1.4 % | 2 |",
        "| 10 % | 6 | 8 | 51.0 ± 1.4 % | 41.0 ± 1.4 % | 21.0 ± 1.4 % | 11.0 ± 1.4 % | 2 |",
        "| 100 % | 60 | 8 | 89.0 ± 1.4 % | – | 51.0 ± 1.4 % | 41.0 ± 1.4 % | 2 |",
    ]
    assert made == tables.tables(others)
    assert report_compare.main([str(write(rows, tmp_path))]) == 0
    assert title in capsys.readouterr().out
    for ending in ("png", "svg"):
        assert (tmp_path / f"compare-few_clips.{ending}").stat().st_size > 10_000


@pytest.mark.parametrize("other", [{"checkpoint": "older"}, {"recipe": "older"}, {"rounds": 1}])
def test_rows_of_other_weights_or_another_recipe_are_left_out_and_counted(
    other: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = [comparison_row("centralised", 0.5, seed, **other) for seed in (0, 1)]
    scratch = comparison_row("centralised", 0.4, model="scratch", share=0.1)
    assert report_compare.main([str(write([*old, scratch, comparison_row("federated", 0.9)], tmp_path))]) == 0
    printed = capsys.readouterr().out
    assert "left out: 2 rows of another tiny model or another recipe" in printed
    assert "50.0 %" not in printed
    assert "90.0 %" in printed
    assert "40.0 %" in printed
    assert report_compare.main([str(write(old, tmp_path))]) == 1
    assert "make compare DATA=FOLDER makes them" in capsys.readouterr().err


def test_the_rows_that_are_kept_here_are_read() -> None:
    made = tables.tables(load_rows(RESULTS))
    assert "| centralised | – | full |" in made["Regimes and ways to tune, real speech"]


def test_without_rows_the_report_says_how_to_make_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report_compare.main([str(tmp_path / "none.json")]) == 1
    assert "make compare DATA=FOLDER" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_synthetic_rows_alone_make_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [comparison_row("federated", 0.9, data="synthetic")]
    assert report_compare.main([str(write(rows, tmp_path))]) == 0
    assert "Regimes" not in capsys.readouterr().out
