"""The panels of the comparison's plot show the rows' figures; what has no rows says so."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from benchmarks.compare.panels import (
    draw_bytes,
    draw_classes,
    draw_envoys,
    draw_epochs,
    draw_strategies,
    envoy_scores,
    mean_curve,
)
from benchmarks.compare.plan import COMPARED
from benchmarks.compare.plots import PANELS, Panel
from benchmarks.compare.tables import envoys_table
from superb_notebook.results import Row, outcomes
from tests.benchmarks.few_clip_rows import few_clip_rows
from tests.workspace.comparison_rows import LABELS, comparison_row, small_comparison


def drawn(panel: Panel, rows: list[Row] | None = None) -> Axes:
    axes = Figure().subplots()
    panel(axes, small_comparison() if rows is None else rows)
    return axes


def lines(axes: Axes) -> dict[str, list[list[float]]]:
    return {str(line.get_label()): [list(map(float, xy)) for xy in line.get_xydata()] for line in axes.lines}


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


def test_an_envoys_scores_are_told_with_their_seeds() -> None:
    fewer_alone = [row for row in small_comparison() if (row["regime"], row["seed"]) != ("local", 1)]
    assert envoy_scores(fewer_alone, "iid", 2)["env_two"] == {
        "train_clips": [30, 30, 30],
        "test_clips": [10, 10, 10],
        "global": pytest.approx([0.86, 0.88]),
        "personalised": pytest.approx([0.91, 0.93]),
        "local": [0.70],
    }
    assert envoys_table(small_comparison()).splitlines()[2].endswith("| 87.0 % | 92.0 % | 72.0 % | 2 |")
    assert envoys_table(fewer_alone).splitlines()[2].endswith("| 87.0 % | 92.0 % | 70.0 % | 2, 1 |")


def bars_of(axes: Axes) -> dict[str, tuple[float, ...]]:
    """Return what stands at each place: the ends of a bar, or one height where it has no length."""
    found = {}
    for each in axes.containers:
        assert isinstance(each, ErrorbarContainer)
        place = f"{each.get_label()}, {np.asarray(each.lines[0].get_xdata())[0]:.1f}"
        ends = [end for bar in each.lines[2] for _, end in bar.get_segments()[0]]
        heights = ends or np.asarray(each.lines[0].get_ydata())
        found[place] = tuple(sorted({round(float(height), 3) for height in heights}))
    return found


def test_strategies_have_a_dot_and_a_bar_each_and_for_each_kind_of_shards() -> None:
    rows = [*small_comparison(), comparison_row("federated", 0.82, 1, partition="dirichlet", envoys=4)]
    axes = drawn(PANELS["strategies"], rows)
    assert bars_of(axes) == {
        "4 dirichlet, -0.3": (0.796, 0.824),  # 0.80 and 0.82
        "4 dirichlet, 0.7": (0.8,),
        "4 iid, 0.0": (0.87,),
        "4 iid, 4.0": (0.86,),
        "4 iid, one sends noise, 0.3": (0.03,),  # of the axis: too far below to be drawn in its place
        "4 iid, one sends noise, 4.3": (0.84,),
    }
    assert axes.get_ylim()[0] == pytest.approx(0.7)
    assert sorted(text.get_text() for text in axes.texts) == ["10.0", "80.0", "81.0", "84.0", "86.0", "87.0"]


@pytest.mark.parametrize("full", [False, True])
def test_no_number_of_the_strategies_stands_on_another(full: bool) -> None:
    """Also not where all have been measured and lie close together."""
    kinds: list[dict[str, Any]] = [{"partition": "dirichlet"}, {}, {"garbage": 1}]
    close = [
        comparison_row("federated", 0.86 + 0.01 * seed, seed, strategy=strategy, envoys=4, **kind)
        for strategy in COMPARED
        for kind in kinds
        for seed in (0, 1)
    ]
    figure = Figure(figsize=(4.2, 4.0), layout="constrained")  # narrower than in the whole plot
    axes = figure.subplots()
    draw_strategies(axes, close if full else small_comparison())
    figure.draw_without_rendering()
    places = [text.get_window_extent() for text in axes.texts]
    assert not [1 for one, other in itertools.combinations(places, 2) if one.overlaps(other)]
    assert all(axes.get_window_extent().y0 < place.y0 for place in places)


@pytest.mark.parametrize("name", PANELS)
def test_rows_of_few_clips_are_in_no_panel(name: str) -> None:
    without, having = drawn(PANELS[name]), drawn(PANELS[name], [*few_clip_rows(), *small_comparison()])
    assert lines(having) == lines(without)
    assert having.get_title(loc="left") == without.get_title(loc="left")


@pytest.mark.parametrize("name", PANELS)
def test_without_rows_every_panel_says_so(name: str) -> None:
    axes = drawn(PANELS[name], [])
    assert "no rows yet" in axes.get_title(loc="left") + axes.get_title()
