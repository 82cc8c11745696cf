"""The comparison's rows, summed up over seeds, in a table, a sentence and a plot."""

import json
import statistics
from pathlib import Path

import pytest
from matplotlib.patches import Rectangle

from superb_notebook.results import (
    load_comparison,
    outcomes,
    plot_regimes,
    regimes,
    regimes_in_words,
    regimes_table,
)
from tests.workspace.comparison_rows import comparison_row, small_comparison


def test_no_file_is_no_rows(tmp_path: Path) -> None:
    assert load_comparison(tmp_path / "compare.json") == []
    (tmp_path / "compare.json").write_text(json.dumps({"rows": small_comparison()}))
    assert load_comparison(tmp_path / "compare.json") == small_comparison()


def test_seeds_are_one_outcome_and_nothing_else_is() -> None:
    found = outcomes(small_comparison(), regime="centralised")
    assert [outcome.accuracies for outcome in found] == [(0.88, 0.90)]
    assert found[0].mean == pytest.approx(0.89)
    assert found[0].spread == pytest.approx(statistics.stdev([0.88, 0.90]))
    assert str(found[0]) == "89.0 ± 1.4 %"
    lora = outcomes(small_comparison(), tuning="lora")
    assert [str(outcome) for outcome in lora] == ["85.0 %"]
    assert lora[0].spread is None
    assert len(outcomes(small_comparison())) == len(small_comparison()) - 3  # regimes that have two seeds


def test_regimes_are_those_of_one_tuning_on_real_speech_in_order() -> None:
    shown = [
        (o.conditions["regime"], o.conditions["partition"], o.conditions["envoys"])
        for o in regimes(small_comparison()[::-1])
    ]
    assert shown == [
        ("centralised", "pooled", 1),
        ("federated", "iid", 2),
        ("federated", "dirichlet", 4),
        ("local", "iid", 2),
        ("local", "dirichlet", 4),
    ]


def test_rows_of_few_clips_or_of_scratch_are_no_regimes() -> None:
    few = [comparison_row("centralised", 0.5, share=0.1), comparison_row("centralised", 0.4, model="scratch")]
    assert regimes([*few, *small_comparison()]) == regimes(small_comparison())
    assert regimes_table([*few, *small_comparison()]).rows == regimes_table(small_comparison()).rows


def test_shares_are_outcomes_of_their_own_and_asked_for_by_name() -> None:
    old, new, tenth = (comparison_row("centralised", 0.9, seed) for seed in range(3))
    rows = [old, new | {"share": 1.0}, tenth | {"share": 0.1}]
    assert [len(outcome.rows) for outcome in outcomes(rows)] == [2]
    assert [o.conditions["share"] for o in outcomes(rows, share=(0.1, 1.0))] == [1.0, 0.1]


def test_table_counts_points_behind_the_centralised_model() -> None:
    rows = {line[0]: line[1:] for line in regimes_table(small_comparison()).rows}
    assert rows["all recordings in one place"] == ["89.0 ± 1.4 %", "", "–", "2"]
    assert rows["federated, 2 envoys, iid"] == ["87.0 ± 1.4 %", "2.0", "2.0", "2"]
    assert rows["each envoy alone, 4 envoys, dirichlet"] == ["50.0 %", "39.0", "–", "1"]


def test_sentence_reads_the_comparison_or_names_what_is_missing() -> None:
    assert regimes_in_words(small_comparison()) == (
        "Collecting all recordings gives 89.0%.\n"
        "Federating them gives 87.0% (2 envoys, iid) to 80.0% (4 envoys, dirichlet).\n"
        "Training alone gives 50.0% to 72.0%."
    )
    for rows in ([], [comparison_row("centralised", 0.9)]):
        assert "lacks rows of one of the three regimes" in regimes_in_words(rows)


def test_plot_has_a_bar_for_each_regime_and_a_dot_for_each_seed() -> None:
    (axes,) = plot_regimes(small_comparison()).axes
    widths = [round(bar.get_width(), 3) for bar in axes.patches if isinstance(bar, Rectangle)]
    assert widths == [0.50, 0.72, 0.80, 0.87, 0.89]
    assert [len(line.get_xdata()) for line in axes.lines] == [1, 2, 1, 2, 2]
    assert axes.get_yticklabels()[-1].get_text() == "all recordings in one place"


def test_without_a_comparison_the_plot_says_so() -> None:
    (said,) = plot_regimes([]).texts
    assert "There is no comparison here" in said.get_text()
