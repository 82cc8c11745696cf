"""Experiments next to each other show what their records say."""

from __future__ import annotations

import pytest
from matplotlib.patches import Rectangle

from superb_notebook.experiment_plots import plot_nothing, plot_rounds, plot_scores, plot_traffic
from superb_notebook.history import History, history_of
from tests.workspace.experiment_records import ENVOYS, two_rounds


@pytest.fixture
def history() -> History:
    return history_of(two_rounds(), 2, ENVOYS)


def test_each_experiment_has_a_line_from_round_1_on_and_the_axis_holds_little_else(history: History) -> None:
    (axes,) = plot_rounds({"tiny": history, "scratch": history}).axes
    assert [list(line.get_xdata()) for line in axes.lines] == [[1, 2]] * 2
    assert [list(line.get_ydata()) for line in axes.lines] == [[30 / 40, 28 / 40]] * 2
    low, high = axes.get_ylim()
    assert 0.65 < low < 0.70 and 0.75 < high < 0.80
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["tiny", "scratch"]


def test_traffic_is_that_of_all_rounds(history: History) -> None:
    (axes,) = plot_traffic({"tiny": history}).axes
    sent = history.bytes_up()
    assert sent is not None
    (line,) = axes.lines
    assert list(line.get_xdata()) == [pytest.approx(2 * sent / 1e6)]
    assert list(line.get_ydata()) == [31 / 40]
    (label,) = axes.texts
    assert label.get_text().startswith("tiny: 77.5%, ")


def test_scores_have_a_bar_each_from_top_to_bottom() -> None:
    (axes,) = plot_scores({"federated": 0.9, "alone": 0.5}).axes
    bars = [bar for bar in axes.patches if isinstance(bar, Rectangle)]
    assert [bar.get_width() for bar in bars] == [0.9, 0.5]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["federated", "alone"]
    assert [round(bar.get_y() + bar.get_height() / 2) for bar in bars] == [1, 0]
    assert [text.get_text() for text in axes.texts] == ["90.0%", "50.0%"]


def test_no_scores_are_an_empty_figure() -> None:
    assert plot_scores({}).axes[0].patches[:] == []
    assert [text.get_text() for text in plot_nothing("none").texts] == ["none"]
