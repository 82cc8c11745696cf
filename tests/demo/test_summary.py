from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from demo.report import print_results
from demo.summary import KEYS, SummaryError, complete_summary

SUMMARY: dict[str, Any] = {
    "model": "tiny",
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
    "model_dir": "model",
}


def test_the_demo_adds_its_time_and_the_notebook(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(json.dumps(SUMMARY))
    summary = complete_summary(tmp_path, seconds_total=61.26, notebook="notebook.ipynb")
    assert summary == {**SUMMARY, "seconds_total": 61.3, "notebook": "notebook.ipynb"}
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    assert set(summary) == set(KEYS)
    assert [entry.name for entry in tmp_path.iterdir()] == ["summary.json"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "wrote no summary.json"),
        ("{", "not JSON"),
        ("{}", "lacks model, data"),
        ("[]", "not an object"),
    ],
)
def test_a_missing_or_incomplete_summary_is_named(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "summary.json").write_text(text)
    with pytest.raises(SummaryError, match=message):
        complete_summary(tmp_path, seconds_total=1.0, notebook="notebook.ipynb")


def test_the_table_shows_each_round_and_both_accuracies(tmp_path: Path) -> None:
    output = io.StringIO()
    run = tmp_path / "runs" / "1"
    summary = {**SUMMARY, "seconds_total": 61.3, "notebook": "notebook.ipynb"}
    print_results(Console(file=output, width=100), summary, run, tmp_path)
    text = output.getvalue()
    rows = [line.replace("│", " ").split() for line in text.splitlines()]
    assert ["1", "2.5000", "0.2500", "8.2"] in rows
    assert ["2", "1.2500", "–", "7.8"] in rows
    assert "Test accuracy on 384 clips: 0.0833 before training, 0.7500 after; 61 s in all." in text
    for place in ("runs/1/notebook.ipynb", "runs/1/notebook.html", "runs/1/model", "runs/1/logs"):
        assert place in text
    assert str(tmp_path) not in text
