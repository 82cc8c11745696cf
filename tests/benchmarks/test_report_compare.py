"""The comparison's report on a small results file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.compare import report as report_compare
from benchmarks.compare.results import CORE, MORE
from tests.workspace.comparison_rows import comparison_row, small_comparison


@pytest.fixture
def results(tmp_path: Path) -> Path:
    path = tmp_path / "compare.json"
    path.write_text(json.dumps({"rows": small_comparison()}))
    return path


def test_the_sample_has_the_schema_of_real_rows() -> None:
    assert set(comparison_row("federated", 0.5)) == {*CORE, *MORE}


@pytest.mark.slow
def test_report_prints_all_tables_and_draws(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report_compare.main(["--results", str(results), "--images", str(tmp_path / "images")]) == 0
    printed = capsys.readouterr().out
    for line in (
        "| centralised | – | full | 89.0 ± 1.4 % | 89.0 % | 2 | – | – | 22 |",
        "| federated | 2 iid | full | 87.0 ± 1.4 % | 87.0 % | 2 | +2.0 | 2.00 | 22 |",
        "| local | 2 iid | full | 72.0 ± 2.8 % | 72.0 % | 2 | +17.0 | – | 22 |",
        "| fedprox | 80.0 % | 80.0 % | 1 | 22 |",
        "| fedavg | 87.0 % | 10.0 % | 77.0 | 1 |",
        "| median | 86.0 % | 84.0 % | 2.0 | 1 |",
        "| iid | env_one | 30 | 10 | 87.0 % | 92.0 % | 72.0 % | 2 |",
        "| scratch | 2 iid | 2 | 60.0 % | 60.0 % | 1 | 2.00 | 22 |",
        "16 runs, 2030-01-02, commit abc1234, 2 cores of a processor.",
    ):
        assert line in printed
    for ending in ("png", "svg"):
        assert (tmp_path / "images" / f"compare.{ending}").stat().st_size > 10_000
    assert len(list((tmp_path / "images").iterdir())) == 2


def test_without_rows_the_report_says_how_to_make_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--results", str(tmp_path / "none.json"), "--images", str(tmp_path / "images")]
    assert report_compare.main(arguments) == 1
    assert "make compare DATA=FOLDER" in capsys.readouterr().err
    assert not (tmp_path / "images").exists()


def test_synthetic_rows_alone_make_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "compare.json"
    path.write_text(json.dumps({"rows": [comparison_row("federated", 0.9, data="synthetic")]}))
    assert report_compare.main(["--results", str(path), "--images", str(tmp_path)]) == 0
    assert "Regimes" not in capsys.readouterr().out
