"""A sweep on a real SuperLink and two SuperNodes: one run after the other, and none of them twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo.flower_federation import FlowerFederation
from superb_ks.settings import Addresses, Head, Recipe, Settings
from superb_notebook.connect import connect, shard_cards, shared_labels
from superb_notebook.experiment import list_experiments
from superb_notebook.runs import find_runs
from superb_notebook.sweep import sweep

pytestmark = [pytest.mark.federation, pytest.mark.slow, pytest.mark.timeout(1500)]


def test_a_sweep_of_two_and_the_same_again(
    shard_params: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one_thread = {"OMP_NUM_THREADS": "1"}
    with FlowerFederation(tmp_path, envoys=2, shard_params=shard_params, environment=one_thread) as running:
        settings = Settings(
            engine="flower",
            tuning=Head(),
            recipe=Recipe(epochs_per_round=1),
            rounds=1,
            experiment_name="swept",
            runs_dir=str(tmp_path / "runs"),
            addresses=Addresses(director_host="127.0.0.1", director_port=running.director_port),
        )
        federation = connect(settings)
        labels = shared_labels(shard_cards(federation))
        result = sweep(federation, settings, labels, strategy=["fedavg", "median"])
        printed = capsys.readouterr().out
        assert [run.failure for run in result.runs] == ["", ""], printed
        assert "Run 2 of 2, strategy=median: validation accuracy" in printed
        runs, others = find_runs(tmp_path / "runs")
        assert [(run.name, run.strategy, run.envoys) for run in runs] == [
            (run.name, run.values["strategy"], 2) for run in result.runs
        ]
        # Each was submitted when the one before it had ended.
        begun, ended = (
            [(tmp_path / "runs" / ".flower" / run.name / file).stat().st_mtime for run in result.runs]
            for file in ("run-id", "status")
        )
        assert begun[1] > ended[0] and others == {}

        again = sweep(federation, settings, labels, strategy=["median", "fedavg"])
        assert [run.name for run in again.runs] == [run.name for run in reversed(result.runs)]
        assert [str(run.test) for run in again.runs] == [str(run.test) for run in reversed(result.runs)]
        assert list_experiments(federation) == {run.name: "finished" for run in result.runs}
