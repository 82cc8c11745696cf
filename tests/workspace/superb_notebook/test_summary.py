"""The run's folder and its `summary.json`."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from superb_notebook.history import history_of
from superb_notebook.summary import new_run_dir, point_latest_to, summarize, write_summary
from tests.workspace.experiment_records import (
    ENVOYS,
    card,
    record,
    two_rounds,
    with_a_round_that_nobody_trained,
)

KEYS = {
    "model", "data", "partition", "envoys", "rounds", "initial_test_accuracy", "test_accuracy", "test_clips",
    "confusion", "bytes_up_per_envoy_round", "seconds_total", "model_dir", "notebook",
    "tuning", "strategy", "baseline",
}  # fmt: skip
PLACES: dict[str, Any] = {"model_dir": "model", "notebook": "notebook.ipynb"}
NOW = datetime(2030, 1, 2, 3, 4, 5)


def summary_of(model: str = "tiny", **changes: str) -> dict[str, Any]:
    cards = {name: card(**changes) for name in ENVOYS}
    return summarize(history_of(two_rounds(), 2, ENVOYS), cards, model=model, **PLACES)


def test_summary_has_the_contracts_entries_and_figures() -> None:
    summary = summary_of()
    assert set(summary) == KEYS
    assert summary["rounds"] == [
        {"round": 1, "train_loss": pytest.approx(1.25), "val_accuracy": 30 / 40, "seconds": 12.5},
        {"round": 2, "train_loss": pytest.approx(1.25), "val_accuracy": 28 / 40, "seconds": 11.5},
    ]
    assert (summary["initial_test_accuracy"], summary["test_accuracy"]) == (13 / 40, 31 / 40)
    assert summary["seconds_total"] == 24.0
    assert (summary["envoys"], summary["test_clips"]) == (2, 40)
    assert sum(map(sum, summary["confusion"])) == 40
    assert sum(summary["confusion"][i][i] for i in range(3)) == 31


def test_a_baseline_has_its_own_rounds_and_score() -> None:
    history = history_of(two_rounds(), 2, ENVOYS)
    cards = {name: card() for name in ENVOYS}
    assert summary_of()["baseline"] is None
    choices: dict[str, Any] = {"tuning": "lora", "strategy": "median", "baseline": ("scratch", history)}
    told = summarize(history, cards, model="tiny", **choices, **PLACES)
    assert (told["tuning"], told["strategy"]) == ("lora", "median")
    assert told["baseline"] == {
        "model": "scratch",
        "rounds": told["rounds"],
        "test_accuracy": told["test_accuracy"],
    }
    begun = history_of(list(two_rounds())[:20], 2, ENVOYS)
    with pytest.raises(ValueError, match="baseline's experiment is not finished"):
        summarize(history, cards, model="tiny", baseline=("scratch", begun), **PLACES)


def test_a_round_without_an_update_is_summed_up_too() -> None:
    history = history_of(with_a_round_that_nobody_trained(), 2, ENVOYS)
    told = summarize(history, {name: card() for name in ENVOYS}, model="tiny", **PLACES)
    assert [row["train_loss"] for row in told["rounds"]] == [pytest.approx(1.25), None]


def test_data_is_the_source_or_the_folders_name() -> None:
    assert summary_of()["data"] == "synthetic"
    assert (
        summary_of(source="folder", data_dir="/a/b/speech_commands_v0.01")["data"] == "speech_commands_v0.01"
    )


def test_model_folder_is_told_by_its_name_alone(tmp_path: Path) -> None:
    assert summary_of(model=str(tmp_path))["model"] == tmp_path.name
    assert summary_of(model="facebook/wav2vec2-base")["model"] == "facebook/wav2vec2-base"


def test_unfinished_experiment_has_no_summary() -> None:
    history = history_of(list(two_rounds())[:20], 2, ENVOYS)
    with pytest.raises(ValueError, match="not finished"):
        summarize(history, {"env_one": card()}, model="tiny", **PLACES)


def test_written_summary_reads_back_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    summary = summary_of()
    path = write_summary(tmp_path, summary)
    assert json.loads(path.read_text()) == summary
    assert [entry.name for entry in tmp_path.iterdir()] == ["summary.json"]


def test_run_folders_of_the_same_second_are_different(tmp_path: Path) -> None:
    names = [new_run_dir(tmp_path / "runs", NOW).name for _ in range(3)]
    assert names == ["20300102-030405", "20300102-030405-2", "20300102-030405-3"]


def test_latest_points_to_the_newest_run(tmp_path: Path) -> None:
    first, second = new_run_dir(tmp_path, NOW), new_run_dir(tmp_path, NOW)
    for run in (first, second):
        point_latest_to(run)
        assert (tmp_path / "latest").readlink() == Path(run.name)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted([first.name, second.name, "latest"])


def test_the_rounds_of_a_private_experiment_have_an_epsilon() -> None:
    records = [*two_rounds(), record(0, "aggregator", "privacy", "epsilon", 2.5)]
    told = summarize(
        history_of(records, 2, ENVOYS), {name: card() for name in ENVOYS}, model="tiny", **PLACES
    )
    assert [row["epsilon"] for row in told["rounds"]] == [2.5, 2.5]


def test_a_folder_named_latest_is_left_alone_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = new_run_dir(tmp_path, NOW)
    (tmp_path / "latest").mkdir()
    (tmp_path / "latest" / "thesis.txt").write_text("years of work")
    point_latest_to(run)
    assert (tmp_path / "latest" / "thesis.txt").read_text() == "years of work"
    (said,) = caplog.messages
    assert said.startswith(f"{tmp_path / 'latest'} does not point to this run (")
    assert {path.name for path in tmp_path.iterdir()} == {"latest", run.name}


@pytest.mark.parametrize("kind", ["file", "broken link"])
def test_what_is_no_folder_takes_no_run(tmp_path: Path, kind: str) -> None:
    runs = tmp_path / "runs"
    if kind == "file":
        runs.write_text("not a folder")
    else:
        runs.symlink_to("nowhere")
    with pytest.raises(OSError, match=r"no run can be saved in .*runs \(.+\): make it a folder .* RUN_DIR"):
        new_run_dir(runs, NOW)


def test_the_data_of_a_folder_without_a_name_is_its_source() -> None:
    assert summary_of(source="folder", data_dir="")["data"] == "folder"
