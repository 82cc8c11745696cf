"""The run's folder and its `summary.json`."""

import json
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from superb_ks.settings import FedMedian, FedProx, Lora, Recipe, Settings
from superb_node.work_folder import point_latest_to
from superb_notebook.history import history_of
from superb_notebook.summary import run_folder, summarize, write_summary
from tests.workspace.experiment_records import (
    ENVOYS,
    card,
    record,
    stopped_after_two_of,
    two_rounds,
    with_a_round_that_nobody_trained,
)

KEYS = {
    "model", "data", "partition", "envoys", "rounds", "initial_test_accuracy", "test_accuracy", "test_clips",
    "confusion", "bytes_up_per_envoy_round", "bytes_sent_per_envoy", "seconds_total",
    "engine", "tuning", "strategy", "baseline", "stopped_early", "personal",
    "experiment", "settings", "recipe", "envoy_names",
}  # fmt: skip


@pytest.fixture(autouse=True)
def a_clock_that_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=lambda: datetime(2030, 1, 2, 3, 4, 5))
    monkeypatch.setattr("superb_notebook.summary.datetime", clock)


def summary_of(model: str = "tiny", **changes: str) -> dict[str, Any]:
    cards = {name: card(**changes) for name in ENVOYS}
    return summarize(Settings(model=model), cards, history_of(two_rounds(), 2, ENVOYS))


def new_run(runs: Path) -> Path:
    return run_folder(None, Settings(runs_dir=str(runs)))


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


def test_the_settings_are_those_that_make_the_same_experiment_again() -> None:
    settings = Settings(
        model="scratch", recipe=Recipe(learning_rate=0.3), strategy=FedProx(mu=0.5), seed=7,
        experiment_name="mine", test_data="/home/me/clips", runs_dir="/home/me/runs",
    )  # fmt: skip
    told = summarize(settings, {name: card() for name in ENVOYS}, history_of(two_rounds(), 2, ENVOYS))
    told = json.loads(json.dumps(told))
    assert (told["experiment"], told["envoy_names"]) == ("mine", ["env_one", "env_two"])
    assert Settings.from_dict(told["settings"]) == settings.for_nodes()
    assert told["recipe"]["learning_rate"] == 0.3 and told["recipe"]["epochs_per_round"] == 4
    assert "/home/me" not in json.dumps(told)


def test_the_name_that_the_director_knows_is_told() -> None:
    history = history_of(two_rounds(), 2, ENVOYS)
    history.experiment = "ks-20300102-030405"
    told = summarize(Settings(), {name: card() for name in ENVOYS}, history)
    assert told["experiment"] == "ks-20300102-030405"
    assert summary_of()["experiment"] is None


def test_a_baseline_has_its_own_rounds_and_score() -> None:
    history = history_of(two_rounds(), 2, ENVOYS)
    cards = {name: card() for name in ENVOYS}
    assert summary_of()["baseline"] is None
    settings = Settings(tuning=Lora(), strategy=FedMedian())
    told = summarize(settings, cards, history, ("scratch", history))
    assert (told["tuning"], told["strategy"]) == ("lora", "median")
    assert told["baseline"] == {
        "model": "scratch",
        "rounds": told["rounds"],
        "test_accuracy": told["test_accuracy"],
    }
    begun = history_of(list(two_rounds())[:20], 2, ENVOYS)
    with pytest.raises(ValueError, match="baseline's experiment is not finished"):
        summarize(Settings(), cards, history, ("scratch", begun))


def test_a_round_without_an_update_is_summed_up_too() -> None:
    history = history_of(with_a_round_that_nobody_trained(), 2, ENVOYS)
    told = summarize(Settings(), {name: card() for name in ENVOYS}, history)
    assert [row["train_loss"] for row in told["rounds"]] == [pytest.approx(1.25), None]


def test_training_that_ended_early_is_summed_up_with_the_reason() -> None:
    told = summarize(
        Settings(), {name: card() for name in ENVOYS}, history_of(stopped_after_two_of(9), 9, ENVOYS)
    )
    assert told["stopped_early"] == "validation accuracy 0.7500, target 0.75; 2 of 9 rounds trained"
    assert {key: value for key, value in told.items() if key != "stopped_early"} == {
        key: value for key, value in summary_of().items() if key != "stopped_early"
    }
    assert summary_of()["stopped_early"] is None


def test_data_is_the_sources_of_the_cards() -> None:
    assert summary_of()["data"] == "synthetic"


def test_model_folder_is_told_by_its_name_alone(tmp_path: Path) -> None:
    told = summary_of(model=str(tmp_path))
    assert told["model"] == told["settings"]["model"] == tmp_path.name
    assert summary_of(model="facebook/wav2vec2-base")["model"] == "facebook/wav2vec2-base"


def test_unfinished_experiment_has_no_summary() -> None:
    history = history_of(list(two_rounds())[:20], 2, ENVOYS)
    with pytest.raises(ValueError, match="not finished"):
        summarize(Settings(), {"env_one": card()}, history)


def test_written_summary_reads_back_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    cards, history = {name: card() for name in ENVOYS}, history_of(two_rounds(), 2, ENVOYS)
    path = write_summary(run, Settings(), cards, history)
    assert json.loads(path.read_text()) == summary_of()
    assert [entry.name for entry in run.iterdir()] == ["summary.json"]
    assert not (tmp_path / "latest").exists()
    write_summary(run, Settings(), cards, history, latest=True, further={"clients": 6})
    assert json.loads(path.read_text()) == {**summary_of(), "clients": 6}
    assert (tmp_path / "latest").readlink() == Path(run.name)


def test_a_folder_that_is_given_is_taken(tmp_path: Path) -> None:
    assert run_folder(str(tmp_path), Settings()) == tmp_path


def test_run_folders_of_the_same_second_are_different(tmp_path: Path) -> None:
    names = [new_run(tmp_path / "runs").name for _ in range(3)]
    assert names == ["20300102-030405", "20300102-030405-2", "20300102-030405-3"]


def test_latest_points_to_the_newest_run(tmp_path: Path) -> None:
    first, second = new_run(tmp_path), new_run(tmp_path)
    for run in (first, second):
        point_latest_to(run)
        assert (tmp_path / "latest").readlink() == Path(run.name)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted([first.name, second.name, "latest"])


def test_the_rounds_of_a_private_experiment_have_an_epsilon() -> None:
    records = [*two_rounds(), record(0, "aggregator", "privacy", "epsilon", 2.5)]
    told = summarize(Settings(), {name: card() for name in ENVOYS}, history_of(records, 2, ENVOYS))
    assert [row["epsilon"] for row in told["rounds"]] == [2.5, 2.5]


def test_a_folder_named_latest_is_left_alone_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = new_run(tmp_path)
    (tmp_path / "latest").mkdir()
    (tmp_path / "latest" / "thesis.txt").write_text("years of work")
    cards, history = {name: card() for name in ENVOYS}, history_of(two_rounds(), 2, ENVOYS)
    write_summary(run, Settings(), cards, history, latest=True)
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
        new_run(runs)
