"""The order that is made of an experiment's records."""

import re
import traceback

import pytest

from superb_notebook.experiment import ExperimentFailed
from superb_notebook.experiment_plots import plot_rounds
from superb_notebook.history import History, Score, history_of, without_frames
from superb_notebook.plots import plot_confusion, plot_learning, show
from superb_notebook.tables import confusions_in_words, envoys_table, results_table
from tests.workspace.experiment_records import (
    ENVOYS,
    LABELS,
    UPDATE_BYTES,
    record,
    scores,
    training,
    two_rounds,
    with_a_round_that_nobody_trained,
)


@pytest.fixture(scope="module")
def history() -> History:
    return history_of(two_rounds(), rounds=2, envoys=ENVOYS)


def test_scores_are_exact_counts(history: History) -> None:
    assert history.initial_validation == Score(13, 40)
    assert history.initial_test == Score(13, 40)
    assert history.test == Score(31, 40)
    assert history.score("validate", 1, "env_two") == Score(9, 10)


def test_rounds_count_from_one_and_carry_the_score_of_what_they_made(history: History) -> None:
    first, second = history.results()
    assert (first.round, first.validation, first.seconds) == (1, Score(30, 40), 12.5)
    assert (second.round, second.validation, second.seconds) == (2, Score(28, 40), 11.5)
    assert first.train_loss == pytest.approx(1.25)


def test_best_round_is_the_one_with_the_highest_pooled_validation_accuracy(history: History) -> None:
    assert history.best_round == 1


def test_earliest_of_equally_good_rounds_is_the_best() -> None:
    same = [r for n in range(3) for r in scores(n, "validate", {"env_one": 5, "env_two": 5})]
    assert history_of(same, rounds=2, envoys=ENVOYS).best_round == 0


def test_pooled_score_and_loss_are_known_as_soon_as_every_envoy_has_reported() -> None:
    history = History(2, ENVOYS)
    one, two = scores(1, "validate", {"env_one": 21}), scores(1, "validate", {"env_two": 9})
    for item in one:
        history.add(item)
    assert history.score("validate", 1) is None
    assert history.pooled_loss("validate", 1) is None
    for item in two:
        history.add(item)
    assert history.score("validate", 1) == Score(30, 40)  # the mean of 70 % and 90 % would be 80 %
    assert history.pooled_loss("validate", 1) == pytest.approx(1.25)


@pytest.mark.parametrize("clips", [0.0, 0.001])
def test_envoys_without_clips_have_no_score_and_no_loss(clips: float) -> None:
    told = [
        record(number, name, task, metric, value)
        for number, task in ((0, "validate"), (0, "train"), (1, "validate"), (3, "test_best"))
        for name in ENVOYS
        for metric, value in (("clips", clips), ("accuracy", 0.0), ("loss", 1.0))
    ]
    history = history_of([*told, record(0, "aggregator", "round", "seconds", 9.0)], 2, ENVOYS)
    assert history.pooled_loss("validate", 0) is None
    assert (history.initial_validation, history.test, history.best_round) == (None, None, 0)
    assert history.results() == results_table(history).rows == envoys_table(history).rows == []
    show(plot_learning(history), "curves")
    show(plot_rounds({"nothing": history}), "nothing to see")


def test_a_score_whose_loss_is_missing_is_shown_without_it() -> None:
    told = [item for item in two_rounds() if (item["round"], item["metric_name"]) != (0, "loss")]
    first, *_ = results_table(history_of(told, 2, ENVOYS)).rows
    assert first[:4] == ["0", "", "–", "32.5%"]


def test_round_is_not_reported_before_its_model_is_validated() -> None:
    history = History(1, ENVOYS)
    for item in [*training(0), record(0, "aggregator", "round", "seconds", 9.0)]:
        history.add(item)
    assert history.results() == []
    for item in scores(1, "validate", {"env_one": 1, "env_two": 1}):
        history.add(item)
    assert [result.round for result in history.results()] == [1]


def test_a_round_without_an_update_has_no_training_loss() -> None:
    history = history_of(with_a_round_that_nobody_trained(), rounds=2, envoys=ENVOYS)
    first, second = history.results()
    assert first.train_loss == pytest.approx(1.25)
    assert (second.round, second.train_loss, second.seconds) == (2, None, 11.5)
    assert history.events == ["aggregator kept the model as it was: no usable update came from env_one"]


def test_confusion_is_the_aggregators(history: History) -> None:
    assert history.confusion(3).tolist() == [[11, 2, 0], [0, 12, 7], [0, 0, 8]]


def test_bytes_of_an_update(history: History) -> None:
    assert history.bytes_up() == UPDATE_BYTES
    assert History(1, ENVOYS).bytes_up() is None
    assert history.bytes_sent() == 2 * UPDATE_BYTES
    assert History(1, ENVOYS).bytes_sent() is None


def test_bytes_sent_are_of_the_rounds_in_which_an_envoy_trained() -> None:
    history = History(3, ["a", "b", "c"])
    for number, envoy in ((0, "a"), (1, "a"), (1, "b"), (2, "a")):
        history.add(record(number, envoy, "train", "bytes_up", 100))
    assert history.bytes_sent() == 200, "a three times, b once, c never"


def test_accuracy_survives_32_bit_floats() -> None:
    history = History(1, ["a"])
    history.add(record(2, "aggregator", "test_best", "clips", 3081))
    history.add(record(2, "aggregator", "test_best", "accuracy", 2999 / 3081))
    score = history.test
    assert score is not None
    assert score.accuracy == 2999 / 3081


def test_events_say_who_and_why() -> None:
    history = History(1, ENVOYS)
    history.add(record(0, "env_two", "dropped", "no heartbeat", 0))
    history.add(record(1, "env_one", "failure", "no disk space", 0))
    assert history.events == [
        "env_two dropped out: no heartbeat",
        "env_one ended the experiment: no disk space",
    ]


def test_closed_round_waits_for_nobody() -> None:
    history = History(2, ENVOYS)
    for item in scores(0, "validate", {"env_one": 3}):
        history.add(item)
    assert history.reported("validate", 0) == 1
    history.add(record(0, "aggregator", "round", "seconds", 3.0))
    assert history.reported("validate", 0) == 2


def test_traceback_of_an_envoy_is_shortened_to_its_error() -> None:
    try:
        [].pop()
    except IndexError:
        trace = traceback.format_exc()
    short = without_frames(f"experiment failed. env_one: {trace}")
    assert re.fullmatch(
        r"experiment failed\. env_one: in test_traceback_of_an_envoy_\w+, line \d+: "
        r"IndexError: pop from empty list\n",
        short,
    )
    assert without_frames("no disk space\nat all") == "no disk space\nat all"
    told = without_frames(str(ExperimentFailed(f"experiment failed. env_one: {trace}\x1b[2J")))
    assert told == short.replace("\n", "\n  ") + "\\x1b[2J"


def test_epsilon_belongs_to_the_round_that_spent_it() -> None:
    assert [result.epsilon for result in history_of(two_rounds(), 2, ENVOYS).results()] == [None, None]
    spent = [record(0, "aggregator", "privacy", "epsilon", 2.0)]
    one = history_of([*two_rounds(), *spent], 2, ENVOYS)
    assert [result.epsilon for result in one.results()] == [2.0, 2.0]  # the second round spent nothing
    both = history_of([*two_rounds(), *spent, record(1, "aggregator", "privacy", "epsilon", 3.0)], 2, ENVOYS)
    assert [result.epsilon for result in both.results()] == [2.0, 3.0]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_is_no_number_is_left_out_and_said(value: float) -> None:
    history = History(1, ["env_one"])
    history.add(record(0, "env_one", "validate", "accuracy", value))
    history.add(record(0, "env_one", "validate", "clips", 10))
    assert history.score("validate", 0, "env_one") is None
    assert history.events == [f"env_one reported {value} as accuracy of validate"]


def test_what_an_envoy_says_is_obeyed_by_no_terminal_and_no_cell_is_outside_of_the_matrix() -> None:
    history = History(1, ["env_one"])
    history.add(record(0, "env_one", "failure", "\x1b[2Jgone\nenv_two dropped out", 0))
    history.add(record(2, "aggregator", "test_best", "confusion[99,0]", 3))
    history.add(record(2, "aggregator", "test_best", "confusion[1,0]", 3))
    assert history.events == ["env_one ended the experiment: \\x1b[2Jgone\n  env_two dropped out"]
    assert history.confusion(2).tolist() == [[0, 0], [3, 0]]


@pytest.mark.parametrize("value", [1e15, -1e15, 1e16, 0.2])
def test_whatever_numbers_a_director_streams_they_are_drawn_and_counted(value: float) -> None:
    history = History(1, ["env_one"])
    for origin in ("env_one", "aggregator"):
        for number, task in enumerate(("validate", "validate", "test_best")):
            for metric in ("accuracy", "loss", "clips", "confusion[0,0]", "confusion[1,0]"):
                history.add(record(number, origin, task, metric, value))
        history.add(record(0, origin, "train", "loss", value))
        history.add(record(0, origin, "round", "seconds", 1.0))
    show(plot_learning(history), "learning")
    show(plot_confusion(history.confusion(2), LABELS[:2]), "confusion")
    assert repr(results_table(history)) and str(history.test)
    confusions_in_words(history.confusion(2), LABELS[:2])
