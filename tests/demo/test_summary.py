from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from demo.report import print_results
from demo.summary import KEYS, SummaryError, read_summary

SUMMARY: dict[str, Any] = {
    "model": "tiny",
    "tuning": "full",
    "strategy": "fedavg",
    "data": "synthetic",
    "partition": "iid",
    "envoys": 2,
    "rounds": [
        {"round": 1, "train_loss": 2.5, "val_accuracy": 0.25, "seconds": 8.25},
        {"round": 2, "train_loss": 1.25, "val_accuracy": None, "seconds": 7.75},
    ],
    "initial_test_accuracy": 0.0833,
    "test_accuracy": 0.75,
    "test_clips": 384,
    "confusion": [],
    "bytes_up_per_envoy_round": 1000,
    "baseline": None,
    "seconds_total": 61.3,
    "model_dir": "model",
    "notebook": "notebook.ipynb",
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "notebook.ipynb").touch()
    (tmp_path / "summary.json").write_text(json.dumps(SUMMARY))
    return tmp_path


def test_a_read_summary_is_read_as_it_is(run: Path) -> None:
    assert read_summary(run) == SUMMARY
    assert set(SUMMARY) == set(KEYS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "wrote no summary.json"),
        ("{", "not JSON"),
        ("{}", "lacks model, tuning"),
        ("[]", "not an object"),
    ],
)
def test_a_missing_or_inread_summary_is_named(run: Path, text: str | None, message: str) -> None:
    (run / "summary.json").unlink()
    if text is not None:
        (run / "summary.json").write_text(text)
    with pytest.raises(SummaryError, match=message):
        read_summary(run)


def test_a_model_that_is_not_there_is_named(run: Path) -> None:
    (run / "model").rmdir()
    with pytest.raises(SummaryError, match="names as model_dir what is not there: model"):
        read_summary(run)


def test_the_table_shows_each_round_and_both_accuracies() -> None:
    output = io.StringIO()
    print_results(Console(file=output, width=100), SUMMARY, Path("runs/1"), seconds=83.4)
    text = output.getvalue()
    assert "tiny, full, fedavg; synthetic data, 2 envoys, iid" in text
    rows = [line.replace("│", " ").split() for line in text.splitlines()]
    assert ["1", "2.5000", "0.2500", "8.2"] in rows
    assert ["2", "1.2500", "-", "7.8"] in rows
    assert "Test accuracy on 384 clips: 0.0833 before training, 0.7500 after; 83 s in all." in text
    for place in ("runs/1/notebook.ipynb", "runs/1/notebook.html", "runs/1/model", "runs/1/logs"):
        assert place in text


def test_a_baseline_gets_a_column_and_a_line() -> None:
    output = io.StringIO()
    rounds = [{"round": n, "train_loss": 3.0, "val_accuracy": 0.1 * n, "seconds": 8.0} for n in (1, 2)]
    baseline = {"model": "scratch", "rounds": rounds, "test_accuracy": 0.125}
    print_results(
        Console(file=output, width=120), {**SUMMARY, "baseline": baseline}, Path("runs/1"), seconds=83.4
    )
    text = output.getvalue()
    lines = [line.replace("│", " ").split() for line in text.splitlines()]
    assert ["1", "2.5000", "0.2500", "8.2", "0.1000"] in lines
    assert ["2", "1.2500", "-", "7.8", "0.2000"] in lines
    assert "scratch: validation accuracy" in text
    assert "scratch, in as many rounds: 0.1250." in text


def test_a_round_that_the_baseline_lacks_is_a_dash() -> None:
    output = io.StringIO()
    rounds = [{"round": 2, "train_loss": None, "val_accuracy": 0.75, "seconds": 8.0}]
    baseline = {"model": "scratch", "rounds": rounds, "test_accuracy": 0.125}
    print_results(
        Console(file=output, width=120), {**SUMMARY, "baseline": baseline}, Path("runs/1"), seconds=83.4
    )
    lines = [line.replace("│", " ").split() for line in output.getvalue().splitlines()]
    assert ["1", "2.5000", "0.2500", "8.2", "-"] in lines
    assert ["2", "1.2500", "-", "7.8", "0.7500"] in lines


def test_epsilon_gets_a_column_where_it_was_spent() -> None:
    output = io.StringIO()
    rounds = [{**row, "epsilon": 2.5 * row["round"]} for row in SUMMARY["rounds"]]
    print_results(
        Console(file=output, width=120), {**SUMMARY, "rounds": rounds}, Path("runs/1"), seconds=83.4
    )
    lines = [line.replace("│", " ").split() for line in output.getvalue().splitlines()]
    assert ["1", "2.5000", "0.2500", "8.2", "2.50"] in lines
    assert ["2", "1.2500", "-", "7.8", "5.00"] in lines
