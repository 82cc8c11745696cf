"""What is shown of one more round on each envoy's own clips."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest

from superb_ks.settings import Settings
from superb_notebook.experiment_plots import plot_personal
from superb_notebook.history import History, Score, history_of
from superb_notebook.monitor import Monitor, follow
from superb_notebook.personal import Personal, personal_in_words, personal_models, pooled_pair
from superb_notebook.plots import show
from superb_notebook.progress import activity, progress
from superb_notebook.summary import summarize
from superb_notebook.tables import envoys_table
from tests.workspace.experiment_records import ENVOYS, card, closing, record, two_rounds

WORKSPACE = Path(__file__).resolve().parents[3] / "workspace"
NUMBER = 4  # of the round, after two of training and two that close
# Clips, then those that the federated and the personal model got right.
VALIDATED = {"env_one": (30, 21, 27), "env_two": (10, 9, 8)}
TESTED = {"env_one": (30, 25, 28), "env_two": (10, 6, 10)}
LINE = (
    "Personal models: 1 of 2 envoys keep theirs; test accuracy 77.5% (31 of 40 clips) before, "
    "85.0% (34 of 40 clips) with the models that they have now"
)


def choice(name: str) -> Iterator[dict[str, Any]]:
    """Yield what an envoy reports when it personalises."""
    for prefix, (clips, before, after) in (("", VALIDATED[name]), ("test_", TESTED[name])):
        yield record(NUMBER, name, "personalise", f"{prefix}clips", clips)
        yield record(NUMBER, name, "personalise", f"{prefix}federated", before / clips)
        yield record(NUMBER, name, "personalise", f"{prefix}personal", after / clips)
    yield record(NUMBER, name, "personalise", "kept", float(VALIDATED[name][2] > VALIDATED[name][1]))


def personalised(*names: str) -> Iterator[dict[str, Any]]:
    yield from two_rounds()
    for name in names:
        yield from choice(name)
    yield from closing(NUMBER, 9.0)


@pytest.fixture
def history() -> History:
    return history_of(personalised(*ENVOYS), 2, ENVOYS)


def test_scores_are_exact_counts(history: History) -> None:
    personal = personal_models(history)
    assert personal == {
        "env_one": Personal(True, (Score(21, 30), Score(27, 30)), (Score(25, 30), Score(28, 30))),
        "env_two": Personal(False, (Score(9, 10), Score(8, 10)), (Score(6, 10), Score(10, 10))),
    }
    assert pooled_pair(personal.values(), "validation") == (Score(30, 40), Score(36, 40))
    assert pooled_pair(personal.values(), "test") == (Score(31, 40), Score(34, 40))


def test_the_table_of_envoys_has_both_models_and_the_choice(history: History) -> None:
    table = envoys_table(history)
    assert table.header[4:] == ["personal model", "on its validation clips", "kept"]
    assert [row[4:] for row in table.rows] == [
        ["93.3%", "70.0% → 90.0% of 30", "yes"],
        ["100.0%", "90.0% → 80.0% of 10", "no"],
    ]
    assert len(envoys_table(history_of(two_rounds(), 2, ENVOYS)).header) == 4


def test_who_dropped_out_is_missing_and_who_has_no_clips_says_so() -> None:
    none = [record(NUMBER, "env_two", "personalise", name, 0) for name in ("clips", "kept")]
    for told, cells in (([], ["–", "–", "–"]), (none, ["–", "no clips", "no"])):
        history = history_of([*personalised("env_one"), *told], 2, ENVOYS)
        assert envoys_table(history).rows[1][4:] == cells
        assert pooled_pair(personal_models(history).values(), "test") == (Score(25, 30), Score(28, 30))
        show(plot_personal(history), "with a gap")


def test_the_plot_shows_each_envoy_and_all(history: History) -> None:
    figure = plot_personal(history)
    validation, test = figure.axes
    assert [label.get_text() for label in validation.get_yticklabels()] == ["all", "env_two", "env_one"]
    assert [text.get_text() for text in validation.texts] == [
        "75.0% → 90.0%",
        "90.0% → 80.0%",
        "70.0% → 90.0%",
    ]
    assert test.texts[0].get_text() == "77.5% → 85.0%"
    show(figure, "personal models")


def test_of_many_envoys_all_together_are_drawn() -> None:
    names = [f"client_{number}" for number in range(100)]
    told = [
        record(NUMBER, name, "personalise", metric, value)
        for name in names
        for metric, value in (("clips", 4), ("federated", 0.5), ("personal", 0.75), ("kept", 1))
    ]
    figure = plot_personal(history_of(told, 2, names))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["all"]
    assert show(plot_personal(History(2, ENVOYS)), "nothing").data


def test_the_summary_has_the_numbers(history: History) -> None:
    cards = {name: card() for name in ENVOYS}
    told = summarize(Settings(personalise=True), cards, history)["personal"]
    assert json.loads(json.dumps(told)) == {
        "kept": 1,
        "test_accuracy_before": 31 / 40,
        "test_accuracy_after": 34 / 40,
        "envoys": {
            "env_one": {
                "kept": True,
                "validation": {"clips": 30, "federated": 21 / 30, "personal": 27 / 30},
                "test": {"clips": 30, "federated": 25 / 30, "personal": 28 / 30},
            },
            "env_two": {
                "kept": False,
                "validation": {"clips": 10, "federated": 9 / 10, "personal": 8 / 10},
                "test": {"clips": 10, "federated": 6 / 10, "personal": 10 / 10},
            },
        },
    }
    assert summarize(Settings(), cards, history_of(two_rounds(), 2, ENVOYS))["personal"] is None


def test_the_round_is_followed_and_told_when_it_is_closed(capsys: pytest.CaptureFixture[str]) -> None:
    monitor = Monitor(History(2, ENVOYS, personalise=True))
    seen = []
    for item in personalised(*ENVOYS):
        monitor.take(item)
        if item["task_name"] == "personalise":
            assert "Personal models" not in capsys.readouterr().out
        seen.append(progress(monitor.history))
        if item["task_name"] == "test_best" and item["metric_origin"] == "aggregator":
            assert (
                activity(monitor.history)
                == "training the best model further, each for itself, 0 of 2 envoys done"
            )
    assert seen == sorted(seen) and seen[-1] == 1
    assert LINE in capsys.readouterr().out.splitlines()
    assert follow(personalised(*ENVOYS), 2, ENVOYS).schedule.personalise  # without knowing the settings


@pytest.mark.parametrize("value", [1e15, -1e15, 0.2])
def test_whatever_numbers_a_director_streams_they_are_shown(value: float) -> None:
    metrics = ("clips", "federated", "personal", "test_clips", "test_federated", "test_personal", "kept")
    told = [record(NUMBER, "env_one", "personalise", metric, value) for metric in metrics]
    history = history_of([*two_rounds(), *told, *closing(NUMBER, 1.0)], 2, ENVOYS)
    show(plot_personal(history), "personal models")
    assert repr(envoys_table(history)) and isinstance(personal_in_words(history), str)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (["env_one", "env_two"], "Your personal model: 100.0% (10 of 10 clips)\nKept: no, the federated"),
        (["env_one"], "Your envoy was not there at the end, and has made no personal model.\n"),
    ],
)
def test_notebook_6_goes_on_without_the_model_of_an_envoy_that_left(
    told: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = nbformat.read(WORKSPACE / "6_your_own_voice.ipynb", as_version=4).cells
    (cell,) = [cell.source for cell in cells if "personal_models(with_you)" in cell.source]
    scores: dict[str, Score] = {}
    with_you, own_envoy = history_of(personalised(*told), 2, ENVOYS), SimpleNamespace(name="env_two")
    exec(cell, {"with_you": with_you, "own_envoy": own_envoy, "scores": scores})
    assert capsys.readouterr().out.startswith(said)
    assert list(scores) == (["your personal model"] if "env_two" in told else [])
