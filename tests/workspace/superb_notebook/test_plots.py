"""The plots show the figures of the records, and the tables too."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from superb_notebook.history import History, history_of
from superb_notebook.plots import (
    envoy_colours,
    plot_confusion,
    plot_learning,
    plot_schedule,
    plot_shards,
    show,
)
from superb_notebook.tables import Table, confusions_in_words, envoys_table, results_table
from tests.workspace.experiment_records import (
    ENVOYS,
    LABELS,
    card,
    two_rounds,
    with_a_round_that_nobody_trained,
)


@pytest.fixture(scope="module")
def history() -> History:
    return history_of(two_rounds(), 2, ENVOYS)


def lines(axes: Axes) -> dict[str, list]:
    return {str(line.get_label()): np.asarray(line.get_xydata()).tolist() for line in axes.lines}


def texts(figure: Figure) -> set[str]:
    return {text.get_text() for axes in figure.axes for text in axes.texts}


def test_first_six_envoys_have_colours_of_their_own() -> None:
    colours = envoy_colours(f"env_{i}" for i in range(20))
    assert len(colours) == 20
    assert len(set(list(colours.values())[:6])) == 6


def test_shards_show_every_count() -> None:
    clips = {"train": {"yes": 1_200, "no": 34}, "val": {"yes": 5, "no": 6}, "test": {"yes": 7, "no": 8}}
    figure = plot_shards({"env_one": card(clips=clips), "env_two": card()})
    assert len(figure.axes) == 4
    assert {"1,234", "11", "15", "1200", "34"} <= texts(figure)


def test_learning_curves_hold_the_exact_scores(history: History) -> None:
    loss, accuracy = plot_learning(history).axes
    assert lines(accuracy)["pooled"] == [[0, 13 / 40], [1, 30 / 40], [2, 28 / 40]]
    assert lines(accuracy)["env_two"] == [[0, 3 / 10], [1, 9 / 10], [2, 8 / 10]]
    assert lines(loss)["training, env_one"] == [[0.5, 1.0], [1.5, 1.0]]


@pytest.mark.parametrize("envoys", [1, 9])
def test_learning_curves_can_be_drawn_before_anything_is_known(envoys: int) -> None:
    empty = History(1, [f"env_{i}" for i in range(envoys)])
    image = show(plot_learning(empty), "nothing yet")
    assert image.data.startswith(b"\x89PNG")
    assert image.alt == "nothing yet"


def test_the_last_value_lies_neither_on_its_line_nor_on_the_axis() -> None:
    begun = [item for item in two_rounds() if (item["round"], item["task_name"]) == (0, "validate")]
    for records, sides in ((begun, ["left", "left"]), (two_rounds(), ["left", "right"])):
        figure = plot_learning(history_of(records, 2, ENVOYS))
        assert [axes.texts[0].get_horizontalalignment() for axes in figure.axes] == sides


@pytest.mark.parametrize("envoys", [1, 2, 6, 9])
def test_the_legend_lies_beside_the_lines_and_has_all_their_colours(envoys: int) -> None:
    figure = plot_learning(History(3, [f"env_{i}" for i in range(envoys)]))
    show(figure, "lays it out")
    loss, accuracy = figure.axes
    legend = accuracy.get_legend()
    assert legend.get_window_extent().x0 >= accuracy.get_window_extent().x1 > loss.get_window_extent().x1
    assert legend.get_window_extent().x1 <= figure.bbox.x1
    colours = {line.get_color() for line in accuracy.lines} - {
        line.get_color() for line in legend.get_lines()
    }
    assert not colours or envoys > 6
    assert loss.get_legend() is None


def test_schedule_names_each_round() -> None:
    assert texts(plot_schedule(np.linspace(1e-3, 0, 30), steps_per_round=10)) == {
        "round 1",
        "round 2",
        "round 3",
    }


def test_confusion_has_counts_and_recall() -> None:
    figure = plot_confusion(np.array([[3, 1, 0], [0, 0, 0], [0, 0, 6]]), LABELS)
    assert texts(figure) == {"3", "1", "6", "75%", "100%", "no clips", "recall"}


def test_confusions_in_words_name_the_most_frequent_and_the_hardest() -> None:
    words = confusions_in_words(np.array([[3, 1, 0], [4, 2, 0], [0, 0, 6]]), LABELS)
    assert words == (
        "Most frequent confusions: no taken for yes (4×), yes taken for no (1×).\n"
        "Hardest class: no, 33% of 6 clips are right."
    )
    assert confusions_in_words(np.eye(3, dtype=np.int64), LABELS) == "No clip was confused."


def test_results_table_marks_the_best_round(history: History) -> None:
    table = results_table(history)
    assert [row[0] for row in table.rows] == ["0", "1", "2"]
    assert table.rows[1] == ["1", "1.250", "1.250", "75.0%", "30 / 40", "12.5"]
    assert "<b>75.0%</b>" in table._repr_html_()
    assert table._repr_html_().count("<b>") == len(table.header)


def test_results_table_finds_rows_by_their_round_and_shows_what_is_missing() -> None:
    table = results_table(history_of(with_a_round_that_nobody_trained(), 2, ENVOYS))
    assert table.rows[2] == ["2", "–", "1.250", "70.0%", "28 / 40", "11.5"]
    late = [item for item in two_rounds() if (item["round"], item["task_name"]) != (0, "validate")]
    table = results_table(history_of(late, 2, ENVOYS))
    assert [row[0] for row in table.rows] == ["1", "2"]
    assert table.bold == 0


def test_envoys_table_shows_before_and_after(history: History) -> None:
    assert envoys_table(history).rows == [
        ["env_one", "30", "30.0%", "83.3%"],
        ["env_two", "10", "40.0%", "60.0%"],
    ]


def test_table_is_aligned_text_in_a_terminal_and_escaped_in_html() -> None:
    table = Table(["name", "n"], [["<a>", "1"], ["b", "1,000"]])
    assert repr(table) == "name      n\n <a>      1\n   b  1,000"
    assert "<td style='text-align:right'>&lt;a&gt;</td>" in table._repr_html_()
