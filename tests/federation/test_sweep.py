"""A sweep on a real director: its queue, what runs leave, one that fails, an interrupt, the same again."""

from __future__ import annotations

import _thread
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openfl.interface.interactive_api.experiment import TaskInterface
from openfl.interface.interactive_api.federation import Federation

from superb_ks.settings import Settings
from superb_notebook.connect import connect, shard_cards, shared_labels
from superb_notebook.experiment import list_experiments
from superb_notebook.runs import find_runs
from superb_notebook.sweep import sweep
from superb_notebook.sweep_queue import SweepQueue
from superb_notebook.sweep_results import SweptRun
from superb_notebook.sweep_settings import combinations
from superb_notebook.tracking.backends import TrackingError
from tests.support.event_files import tensorboard_scalars
from tests.support.lab import Lab, wait_until

pytestmark = pytest.mark.federation


def tasks_of(settings: Settings) -> TaskInterface:
    """Return tasks whose accuracy is the learning rate; with some rates they fail, or wait, or never end."""
    rate = settings.recipe.learning_rate
    tasks = TaskInterface()

    @tasks.register_fl_task(
        model="model", data_loader="shard", device="device", optimizer="optimizer", round_num="round_num"
    )
    def train(model, shard, device, optimizer, round_num):
        import time

        if rate == 0.66:
            raise ArithmeticError("diverged")
        time.sleep({0.99: 3600, 0.01: 20}.get(rate, 0))
        return {"loss": 1.0, "clips": 12}

    @tasks.register_fl_task(model="model", data_loader="shard", device="device")
    def validate(model, shard, device):
        return {"accuracy": rate, "loss": 1.0, "clips": 100}

    @tasks.register_fl_task(model="model", data_loader="shard", device="device")
    def test(model, shard, device):
        return {"accuracy": 1 - rate, "loss": 1.0, "clips": 100}

    return tasks


def base(lab: Lab, folder: Path, name: str) -> Settings:
    return lab.settings(rounds=1, experiment_name=name, runs_dir=str(folder / "runs"))


def start_of(settings: Settings) -> tuple[Federation, tuple[str, ...]]:
    federation = connect(settings)
    return federation, shared_labels(shard_cards(federation))


def times_begun(lab: Lab, name: str) -> int:
    """Return how often the director has begun an experiment."""
    return lab.log("director").count(f"Experiment {name} starts with ")


def test_each_run_is_named_and_leaves_a_folder_and_one_that_fails_stops_no_other(
    lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = base(lab, tmp_path, "swept")
    federation, labels = start_of(settings)
    rates = [0.25, 0.66, 0.75]
    result = sweep(
        federation, settings, labels, tasks_of, "tensorboard", strategy=["median"], learning_rate=rates
    )
    first, failed, last = result.runs
    assert result.finished == [last, first] and "diverged" in failed.failure
    assert len({run.name for run in result.runs}) == 3
    assert [run.name for run in result.runs] == [
        f"swept-{run.experiment.digest[:8]}" for run in result.runs if run.experiment
    ]
    assert list(result.table["validation accuracy"][:2]) == [0.75, 0.25]
    assert list(result.table["test accuracy"][:2]) == [0.25, 0.75]
    printed = capsys.readouterr().out
    assert "Run 1 of 3, strategy=median, learning_rate=0.25: validation accuracy 25.0%" in printed
    assert f"Run 2 of 3, strategy=median, learning_rate=0.66: experiment {failed.name} failed" in printed
    status = list_experiments(federation)
    assert [status[run.name] for run in result.runs] == ["finished", "failed", "finished"]

    runs, others = find_runs(tmp_path / "runs")
    assert {run.name: run.settings["recipe.learning_rate"] for run in runs} == {
        first.name: 0.25,
        last.name: 0.75,
    }
    assert [(run.title, run.strategy, run.envoys) for run in runs] == [
        (run.name, "median", 2) for run in (first, last)
    ]
    assert others == {failed.name: "no summary.json"}, "it was tracked as well"
    tracked = {path.parent: tensorboard_scalars(path.parent) for path in tmp_path.rglob("events.out.*")}
    assert set(tracked) == {tmp_path / "runs" / run.name / "tensorboard" / run.name for run in result.runs}
    for run, accuracy in ((first, 0.25), (last, 0.75)):
        scalars = tracked[tmp_path / "runs" / run.name / "tensorboard" / run.name]
        assert scalars["validate/accuracy/aggregator"][1] == pytest.approx(accuracy)

    # The failed one is resumed, the others are there.
    again = sweep(federation, settings, labels, tasks_of, strategy=["median"], learning_rate=rates)
    assert [run.name for run in again.runs] == [run.name for run in result.runs]
    assert list(again.table["validation accuracy"][:2]) == [0.75, 0.25]
    assert [times_begun(lab, run.name) for run in again.runs] == [1, 2, 1]


def test_a_mistake_in_the_tasks_of_one_run_leaves_the_others(lab: Lab, tmp_path: Path) -> None:
    settings = base(lab, tmp_path, "mistake")
    federation, labels = start_of(settings)

    def tasks_or_mistake(each: Settings) -> TaskInterface:
        return tasks_of(each) if each.recipe.learning_rate == 0.25 else {}["no such task"]

    result = sweep(federation, settings, labels, tasks_or_mistake, learning_rate=[0.5, 0.25])
    assert [run.failure for run in result.runs] == ["'no such task'", ""]
    assert result.finished == result.runs[1:]


def test_all_runs_are_in_the_queue_at_once_and_go_on_without_a_notebook(lab: Lab, tmp_path: Path) -> None:
    settings = base(lab, tmp_path, "alone")
    federation, labels = start_of(settings)
    rates = [0.3, 0.4, 0.5]
    made = combinations(settings, {"learning_rate": rates})
    runs = [SweptRun(own, each) for own, each in made]
    SweepQueue(federation, "alone", runs, labels, tasks_of).submit(lambda run: None)
    names = [run.name for run in runs]

    def finished() -> bool:  # nobody follows them
        status = list_experiments(federation)
        return [status.get(name) for name in names] == ["finished"] * 3

    wait_until(finished, 60)
    result = sweep(federation, settings, labels, tasks_of, learning_rate=[0.2, *reversed(rates)])
    assert [run.name for run in result.finished] == [*reversed(names), result.runs[0].name]
    assert [times_begun(lab, run.name) for run in result.runs] == [1] * 4
    assert len(find_runs(tmp_path / "runs")[0]) == 4


def test_more_runs_than_may_wait_are_submitted_when_others_have_ended(
    lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = base(lab, tmp_path, "many")
    federation, labels = start_of(settings)
    result = sweep(federation, settings, labels, tasks_of, learning_rate=[0.01, *np.arange(50, 61) / 100])
    assert len(result.finished) == 12
    (told,) = [line for line in capsys.readouterr().out.splitlines() if "keep this notebook open" in line]
    assert told == (
        "Runs 10 to 12 are submitted when others have ended, so keep this notebook open: "
        "the director refused the experiment: 8 experiments of notebook wait for approval or for their turn, "
        "8 in all; legal: 8 of a user and 32 in all; stop one, or wait"
    )


def test_an_interrupt_ends_the_watching_alone_and_stop_ends_the_runs(
    lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = base(lab, tmp_path, "cut")
    federation, labels = start_of(settings)

    def states() -> list[str]:
        return [status for name, status in list_experiments(federation).items() if name.startswith("cut-")]

    def interrupt() -> None:
        wait_until(lambda: states() == ["finished", "in_progress", "pending", "pending"], 60)
        wait_until(lambda: any(tmp_path.rglob("summary.json")), 60)  # the first one is read to its end
        time.sleep(1)
        _thread.interrupt_main()

    threading.Thread(target=interrupt, daemon=True).start()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # workers of pytest ignore it
    try:
        result = sweep(federation, settings, labels, tasks_of, learning_rate=[0.5, 0.99, 0.7, 0.8])
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        assert [run.failure for run in result.runs] == ["", *["not watched to its end"] * 3]
        assert result.finished == result.runs[:1]
        assert "The runs that were submitted go on." in capsys.readouterr().out
        assert states() == ["finished", "in_progress", "pending", "pending"]
    finally:
        result.stop()
    wait_until(lambda: states() == ["finished", "stopped", "stopped", "stopped"], 30)
    assert [times_begun(lab, run.name) for run in result.runs] == [1, 1, 0, 0]

    again = sweep(federation, settings, labels, tasks_of, learning_rate=[0.5, 0.8])
    assert [run.name for run in again.runs] == [result.runs[0].name, result.runs[3].name]
    assert [run.validation.accuracy for run in again.runs if run.validation] == [0.5, 0.8]
    assert [times_begun(lab, run.name) for run in again.runs] == [1, 1]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"learning_rate": [0.5, -1]}, r"^Recipe.learning_rate is -1; legal: None or above 0$"),
        ({"seed": [1], "track": "paper"}, r"^track=paper: legal values are tensorboard, mlflow, wandb, or"),
    ],
)
def test_what_is_illegal_is_told_before_anything_is_submitted(
    lab: Lab, tmp_path: Path, given: dict[str, Any], told: str
) -> None:
    settings = base(lab, tmp_path, "illegal")
    federation, labels = start_of(settings)
    with pytest.raises((ValueError, TrackingError), match=told):
        sweep(federation, settings, labels, **given)
    with pytest.raises(
        ValueError, match="^Settings.experiment_name is '.*'; legal: None or up to 63 letters"
    ):
        sweep(federation, replace(settings, experiment_name="i" * 55), labels, seed=[1])
    assert not [name for name in list_experiments(federation) if name.startswith("i")]
