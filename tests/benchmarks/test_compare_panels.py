"""The panels of the comparison's plot show the rows' figures; what has no rows says so."""

from __future__ import annotations

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from benchmarks.compare.panels import (
    draw_bytes,
    draw_classes,
    draw_envoys,
    draw_epochs,
    envoy_scores,
    mean_curve,
)
from benchmarks.compare.plots import PANELS, Panel
from superb_notebook.results import Row, outcomes
from tests.benchmarks.few_clip_rows import few_clip_rows
from tests.workspace.comparison_rows import LABELS, small_comparison


def drawn(panel: Panel, rows: list[Row] | None = None) -> Axes:
    axes = Figure().subplots()
    panel(axes, small_comparison() if rows is None else rows)
    return axes


def lines(axes: Axes) -> dict[str, list[list[float]]]:
    return {str(line.get_label()): [list(map(float, xy)) for xy in line.get_xydata()] for line in axes.lines}


def bars(axes: Axes) -> list[tuple[float, ...]]:
    return [bar.get_bbox().bounds for bar in axes.patches if isinstance(bar, Rectangle)]


def test_a_curve_is_the_mean_over_seeds() -> None:
    (outcome,) = outcomes(
        small_comparison(), regime="federated", partition="iid", envoys=2, data="real", tuning="full"
    )
    x, y = mean_curve(outcome, "bytes")
    assert x == [0, 1e6, 2e6]
    assert y == pytest.approx([0, 0.435, 0.87])


def test_accuracy_is_drawn_over_epochs_and_bytes() -> None:
    epochs, sent = lines(drawn(draw_epochs)), lines(drawn(draw_bytes))
    assert epochs["federated, 2 iid"] == [
        pytest.approx([4, 0.435]),
        pytest.approx([8, 0.87]),
    ]  # rounds of four
    assert epochs["alone, 4 dirichlet"][1] == pytest.approx([8, 0.50])
    assert set(sent) == {"full", "lora"}
    assert sent["full"] == [pytest.approx([1, 0.435]), pytest.approx([2, 0.87])]


def test_accuracy_is_drawn_by_class_and_by_envoy() -> None:
    classes, envoys = drawn(draw_classes), drawn(draw_envoys)
    assert [text.get_text() for text in classes.get_xticklabels()] == list(LABELS)
    assert [y for _, y in lines(classes)["centralised"]] == pytest.approx([0.89] * 3)
    assert [text.get_text() for text in envoys.get_xticklabels()] == ["one", "two"] * 2
    own = {(str(line.get_label()), float(line.get_xdata()[0])): line.get_ydata()[0] for line in envoys.lines}
    assert own["federated model", 0] == pytest.approx(0.87)
    assert own["the model that it keeps", 1] == pytest.approx(0.92)
    assert own["trained alone", 0] == pytest.approx(0.72)


def test_an_envoys_scores_are_means_that_say_of_how_many_seeds() -> None:
    scores = envoy_scores(small_comparison(), "iid", 2)
    assert scores["env_two"] == {
        "seeds": 2,
        "train_clips": 30,
        "test_clips": 10,
        "global": pytest.approx(0.87),
        "personalised": pytest.approx(0.92),
        "local": pytest.approx(0.72),
    }


def test_strategies_have_a_bar_each_and_for_each_kind_of_shards() -> None:
    axes = drawn(PANELS["strategies"])
    heights = [round(bar.get_height(), 3) for bar in axes.patches if isinstance(bar, Rectangle)]
    assert sorted(heights) == [0.1, 0.8, 0.8, 0.84, 0.86, 0.87]


@pytest.mark.parametrize("name", PANELS)
def test_rows_of_few_clips_are_in_no_panel(name: str) -> None:
    without, having = drawn(PANELS[name]), drawn(PANELS[name], [*few_clip_rows(), *small_comparison()])
    assert lines(having) == lines(without)
    assert bars(having) == bars(without)
    assert having.get_title(loc="left") == without.get_title(loc="left")


@pytest.mark.parametrize("name", PANELS)
def test_without_rows_every_panel_says_so(name: str) -> None:
    axes = drawn(PANELS[name], [])
    assert "no rows yet" in axes.get_title(loc="left") + axes.get_title()
