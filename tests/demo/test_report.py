from __future__ import annotations

import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from demo.report import LiveProgress, print_results
from superb_ks.settings import FedProx, Recipe, Settings
from superb_notebook.told_settings import told_settings

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
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a finished run."""
    run = tmp_path / "runs" / "1"
    for name in ("model", "logs"):
        (run / name).mkdir(parents=True)
    for name in ("notebook.ipynb", "notebook.html"):
        (run / name).touch()
    return run


def printed(run: Path, summary: dict[str, Any]) -> str:
    (run / "summary.json").write_text(json.dumps(summary))
    output = io.StringIO()
    print_results(Console(file=output, width=120), run, seconds=83.4)
    return output.getvalue()


def cells(text: str) -> list[list[str]]:
    return [line.replace("│", " ").split() for line in text.splitlines()]


def test_a_notebook_without_a_summary_has_no_table(run: Path) -> None:
    output = io.StringIO()
    print_results(Console(file=output, width=120), run, seconds=83.4)
    assert output.getvalue().splitlines() == [
        "83 s in all.",
        "  notebook  runs/1/notebook.ipynb",
        " as a page  runs/1/notebook.html",
        "     model  runs/1/model",
        "      logs  runs/1/logs",
    ]


def test_the_table_shows_each_round_and_both_accuracies(run: Path) -> None:
    text = printed(run, SUMMARY)
    assert "tiny, full, fedavg; synthetic data, 2 envoys, iid" in text
    rows = cells(text)
    assert ["1", "2.5000", "0.2500", "8.2"] in rows
    assert ["2", "1.2500", "-", "7.8"] in rows
    assert "Test accuracy on 384 clips: 0.0833 before training, 0.7500 after; 83 s in all." in text
    for place in ("notebook.ipynb", "notebook.html", "model", "logs", "summary.json"):
        assert f"runs/1/{place}" in text


def test_a_summary_need_not_speak_of_a_baseline(run: Path) -> None:
    text = printed(run, {key: value for key, value in SUMMARY.items() if key != "baseline"})
    assert ["1", "2.5000", "0.2500", "8.2"] in cells(text)
    assert "in as many rounds" not in text


def test_the_recipe_in_force_is_one_line_below_the_table(run: Path) -> None:
    """As a summary has it, and although a terminal may be narrow."""
    settings = Settings(recipe=Recipe(mask_time_prob=0.3), strategy=FedProx())
    told = {"settings": told_settings(settings), "recipe": asdict(settings.complete_recipe)}
    lines = printed(run, {**SUMMARY, **told}).splitlines()
    place = lines.index(
        "Recipe: 2 epochs a round, batches of 8, rate 0.001 (warm-up 10 %, decay 0.01), speed +/-15 %, "
        "time masks 30 %, feature masks 10 %; strategy fedprox(mu=0.01)"
    )
    assert lines[place - 1].startswith("└") and lines[place + 1].startswith("Test accuracy")


def test_a_summary_need_not_speak_of_a_recipe(run: Path) -> None:
    assert "Recipe" not in printed(run, SUMMARY)


def test_a_baseline_gets_a_column_and_a_line(run: Path) -> None:
    rounds = [{"round": n, "train_loss": 3.0, "val_accuracy": 0.1 * n, "seconds": 8.0} for n in (1, 2)]
    baseline = {"model": "scratch", "rounds": rounds, "test_accuracy": 0.125}
    text = printed(run, {**SUMMARY, "baseline": baseline})
    assert ["1", "2.5000", "0.2500", "8.2", "0.1000"] in cells(text)
    assert ["2", "1.2500", "-", "7.8", "0.2000"] in cells(text)
    assert "scratch: validation accuracy" in text
    assert "scratch, in as many rounds: 0.1250." in text


def test_a_round_that_the_baseline_lacks_is_a_dash(run: Path) -> None:
    rounds = [{"round": 2, "train_loss": None, "val_accuracy": 0.75, "seconds": 8.0}]
    baseline = {"model": "scratch", "rounds": rounds, "test_accuracy": 0.125}
    text = printed(run, {**SUMMARY, "baseline": baseline})
    assert ["1", "2.5000", "0.2500", "8.2", "-"] in cells(text)
    assert ["2", "1.2500", "-", "7.8", "0.7500"] in cells(text)


def test_why_training_ended_early_is_told(run: Path) -> None:
    why = "validation accuracy 0.9600, target 0.95; 2 of 9 rounds trained"
    assert f"Training ended early: {why}." in printed(run, {**SUMMARY, "stopped_early": why})
    assert "early" not in printed(run, {**SUMMARY, "stopped_early": None})


def test_epsilon_gets_a_column_where_it_was_spent(run: Path) -> None:
    rounds = [{**row, "epsilon": 2.5 * row["round"]} for row in SUMMARY["rounds"]]
    text = printed(run, {**SUMMARY, "rounds": rounds})
    assert ["1", "2.5000", "0.2500", "8.2", "2.50"] in cells(text)
    assert ["2", "1.2500", "-", "7.8", "5.00"] in cells(text)


def test_nothing_that_a_notebook_prints_is_obeyed_by_the_terminal() -> None:
    output = io.StringIO()
    with LiveProgress(Console(file=output, width=120)) as progress:
        progress.write("[red]env_one\x1b]52;c;b3duZWQ=\x07 [/]\n")
    assert "[red]env_one\\x1b]52;c;b3duZWQ=\\x07 [/]" in output.getvalue() and "\x1b" not in output.getvalue()
