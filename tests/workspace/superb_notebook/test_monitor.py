"""What is shown while an experiment runs: in a terminal, and in a real notebook."""

import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from superb_notebook.experiment import ExperimentFailed
from superb_notebook.history import History, RoundResult
from superb_notebook.monitor import Monitor, follow, watch
from superb_notebook.progress import activity, progress
from superb_notebook.tracking.writing import Tracking
from tests.workspace.experiment_records import (
    ENVOYS,
    record,
    scores,
    stopped_after_two_of,
    training,
    two_rounds,
)

ROOT = Path(__file__).resolve().parents[3]

LINES = [
    "Before training: validation accuracy 32.5% (13 of 40 clips)",
    "Round 1 of 2: training loss 1.250, validation accuracy 75.0% (30 of 40 clips), 12.5 s",
    "Round 2 of 2: training loss 1.250, validation accuracy 70.0% (28 of 40 clips), 11.5 s",
    "Best model, of round 1: test accuracy 77.5% (31 of 40 clips)",
]


def printed_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line in LINES]


def test_one_line_is_printed_for_each_finished_round(capsys: pytest.CaptureFixture[str]) -> None:
    history = follow(two_rounds(), 2, ENVOYS)
    assert printed_lines(capsys.readouterr().out) == LINES
    assert history.test is not None


def test_a_long_experiment_is_followed_as_fast_as_a_short_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record makes nobody look at more rounds than its own two, nor draw the bar each time."""
    looked: list[int] = []
    refreshed: list[History] = []
    of_history = History.round_result

    def round_result(history: History, number: int) -> RoundResult | None:
        looked.append(number)
        return of_history(history, number)

    monkeypatch.setattr(History, "round_result", round_result)
    history, records = History(500, ENVOYS), list(two_rounds())
    monitor = Monitor(history, plot=False)
    begin = time.monotonic()
    with pytest.raises(ExperimentFailed):  # the other rounds never come
        watch(records, Tracking(records, "", None), history, monitor.take, lambda: refreshed.append(history))
    assert len(looked) <= 2 * len(records)
    assert 1 <= len(refreshed) <= 2 + 10 * (time.monotonic() - begin)


def test_a_round_without_a_score_is_left_out_and_the_others_are_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    monitor = Monitor(History(2, ENVOYS))
    for item in two_rounds():
        if (item["round"], item["task_name"]) != (1, "validate"):
            monitor.take(item)
    assert printed_lines(capsys.readouterr().out)[:2] == [LINES[0], LINES[2]]


def test_the_spent_epsilon_is_told_with_the_round(capsys: pytest.CaptureFixture[str]) -> None:
    follow([record(0, "aggregator", "privacy", "epsilon", 4.3772), *two_rounds()], 2, ENVOYS)
    assert f"{LINES[1]}, epsilon 4.38" in capsys.readouterr().out.splitlines()


def test_training_that_ends_early_is_told_and_counts_as_finished(capsys: pytest.CaptureFixture[str]) -> None:
    monitor = Monitor(History(9, ENVOYS))
    seen = []
    for item in stopped_after_two_of(9):
        monitor.take(item)
        seen.append(progress(monitor.history))
    lines = capsys.readouterr().out.splitlines()
    why = "validation accuracy 0.7500, target 0.75; 2 of 9 rounds trained"
    assert f"Note: aggregator ended training early: {why}" in lines
    assert "Round 1 of 9: " in "\n".join(lines) and LINES[2] in lines and LINES[3] in lines
    assert seen == sorted(seen) and seen[-1] == 1
    assert activity(monitor.history) == "all tasks done"
    assert follow(stopped_after_two_of(9), 9, ENVOYS).test is not None


def test_a_round_is_told_before_the_next_one_is_trained(capsys: pytest.CaptureFixture[str]) -> None:
    monitor = Monitor(History(2, ENVOYS))
    first_round = [item for item in two_rounds() if item["round"] == 0]
    for item in [*first_round, *scores(1, "validate", {"env_one": 21, "env_two": 9})]:
        monitor.take(item)
    assert printed_lines(capsys.readouterr().out) == LINES[:2]


def test_progress_and_activity_follow_the_reports() -> None:
    monitor = Monitor(History(2, ENVOYS))
    assert progress(monitor.history) == 0
    assert activity(monitor.history) == "validating the initial model, 0 of 2 envoys done"
    for item in [
        *scores(0, "validate", {"env_one": 1, "env_two": 1}),
        *scores(0, "test_initial", {"env_one": 1}),
    ]:
        monitor.take(item)
    assert activity(monitor.history) == "testing the initial model, 1 of 2 envoys done"
    seen = [progress(monitor.history)]
    for item in two_rounds():
        monitor.take(item)
        seen.append(progress(monitor.history))
    assert seen == sorted(seen)
    assert seen[-1] == 1
    assert activity(monitor.history) == "all tasks done"


def test_training_is_named_by_its_round_from_one() -> None:
    monitor = Monitor(History(2, ENVOYS))
    for item in [
        *scores(0, "validate", {"env_one": 1, "env_two": 1}),
        *scores(0, "test_initial", {"env_one": 1, "env_two": 1}),
    ]:
        monitor.take(item)
    assert activity(monitor.history) == "round 1: training, 0 of 2 envoys done"
    for item in training(0):
        monitor.take(item)
    assert activity(monitor.history) == "validating the model of round 1, 0 of 2 envoys done"


def test_behind_whom_it_waits_is_told_until_it_begins(capsys: pytest.CaptureFixture[str]) -> None:
    monitor = Monitor(History(2, ENVOYS))
    for number in (1, 2):
        monitor.take(record(0, "director", "queued", f"experiment other (round {number} of 9)", 0))
        assert activity(monitor.history) == f"waits behind experiment other (round {number} of 9)"
        assert progress(monitor.history) == 0
    monitor.take(record(0, "director", "queued", "", 0))
    assert activity(monitor.history) == "validating the initial model, 0 of 2 envoys done"
    monitor.take(record(0, "director", "queued", "experiment other (round 9 of 9)", 0))
    monitor.take(record(0, "env_one", "validate", "clips", 3))  # the link was cut when it began
    assert activity(monitor.history) == "validating the initial model, 1 of 2 envoys done"
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("Waits")] == [
        "Waits behind experiment other (round 1 of 9)"
    ]


def test_failure_is_printed_and_raised(capsys: pytest.CaptureFixture[str]) -> None:
    def failing() -> Iterator[dict]:
        yield record(0, "env_two", "failure", "no disk space", 0)
        raise RuntimeError("experiment failed")

    with pytest.raises(RuntimeError, match="experiment failed"):
        follow(failing(), 2, ENVOYS)
    assert "Note: env_two ended the experiment: no disk space" in capsys.readouterr().out


def test_stopped_experiment_is_an_error_and_not_a_result(capsys: pytest.CaptureFixture[str]) -> None:
    until_the_test = (item for item in two_rounds() if item["task_name"] != "test_best")
    with pytest.raises(ExperimentFailed, match="somebody stopped it"):
        follow(until_the_test, 2, ENVOYS)
    assert printed_lines(capsys.readouterr().out) == LINES[:3]


def test_notebook_keeps_one_bar_one_plot_and_the_lines() -> None:
    code = (
        "from superb_notebook.monitor import follow\n"
        "from tests.workspace.experiment_records import ENVOYS, two_rounds\n"
        "history = follow(two_rounds(), 2, ENVOYS)"
    )
    setup = (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'workspace')!r}]\n"
        "from superb_notebook.display import tidy_outputs\n"
        "tidy_outputs()"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in (setup, code)])
    NotebookClient(notebook, timeout=120).execute()
    bar, plot, *streams = notebook.cells[1].outputs
    assert "width:100.0%" in bar.data["text/html"]
    assert bar.data["text/plain"].startswith("100% · ")
    assert bar.data["text/plain"].endswith(" · finished")
    assert "image/png" in plot.data
    assert "".join(stream.text for stream in streams).splitlines() == LINES


def test_the_plot_can_be_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    for plot in (True, False):
        follow(two_rounds(), 2, ENVOYS, plot=plot)
        assert ("Image object" in capsys.readouterr().out) == plot
