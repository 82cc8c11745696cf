"""What a sweep ends in: a table and a plot, ordered by validation alone."""

import pandas as pd
import pytest

from superb_ks.settings import FedProx, Settings
from superb_notebook.history import History, history_of
from superb_notebook.sweep_results import MOST, Sweep, SweptRun, plot_sweep
from tests.workspace.experiment_records import ENVOYS, pooled_scores, scores, two_rounds


def run(number: int, right: int | None = None, tested: int = 31, **values: object) -> SweptRun:
    """Return a run whose best model, of round 2, has so many of 40 validation clips right."""
    history: History | None = None
    if right is not None:
        history = history_of(two_rounds(), 2, ENVOYS)
        parts = {"env_one": right - 10, "env_two": 10}
        for task, at in (("validate", 2), ("test_best", 3)):
            parts = parts if task == "validate" else {"env_one": tested - 10, "env_two": 10}
            for item in (*scores(at, task, parts), *pooled_scores(at, task, parts)):
                history.add(item)
    return SweptRun(values, Settings(experiment_name=f"sweep-{number}"), history=history)


@pytest.fixture
def three() -> Sweep:
    first = run(1, 32, tested=39, strategy="fedavg", learning_rate=0.001)
    second = run(2, 38, tested=33, strategy=FedProx(mu=0.5), learning_rate=0.002)
    third = run(3, strategy="median", learning_rate=0.001)
    third.failure = "env_one: no disk\nmore of it"
    return Sweep([third, first, second])


def test_validation_orders_the_runs_and_the_test_stands_beside(three: Sweep) -> None:
    assert [each.name for each in three.finished] == ["sweep-2", "sweep-1"]
    assert three.best.name == "sweep-2"
    table = three.table
    assert list(table.index) == ["sweep-2", "sweep-1", "sweep-3"]
    assert list(table.columns) == [
        *("strategy", "learning_rate", "validation accuracy", "test accuracy", "best round", "seconds"),
        "failure",
    ]
    assert list(table["validation accuracy"][:2]) == [0.95, 0.8]
    assert list(table["test accuracy"][:2]) == [0.825, 0.975]
    assert list(table["strategy"]) == ["FedProx(mu=0.5)", "fedavg", "median"]
    assert list(table["best round"][:2]) == [2, 2]
    assert table["failure"].iloc[2] == "env_one: no disk"
    assert pd.isna(table["validation accuracy"].iloc[2])


def test_what_did_not_happen_has_no_column(three: Sweep) -> None:
    assert "failure" not in Sweep(three.runs[1:]).table
    none = Sweep(three.runs[:1])
    assert list(none.table.columns) == ["strategy", "learning_rate", "failure"]
    with pytest.raises(ValueError, match="no run of this sweep has finished"):
        plot_sweep(none)
    assert repr(three) == "Sweep of 3 runs, 2 finished"


def test_the_plot_has_a_row_for_each_of_the_best(three: Sweep) -> None:
    (axes,) = plot_sweep(three).axes
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert labels == [
        "strategy=FedProx(mu=0.5), learning_rate=0.002",
        "strategy=fedavg, learning_rate=0.001",
    ]
    validation, test = (dict(zip(line.get_ydata(), line.get_xdata(), strict=True)) for line in axes.lines)
    assert validation == {1: 0.95, 0: 0.8} and test == {1: 0.825, 0: 0.975}
    many = Sweep([run(number, 30, seed=number) for number in range(MOST + 3)])
    assert len(plot_sweep(many).axes[0].get_yticklabels()) == MOST
