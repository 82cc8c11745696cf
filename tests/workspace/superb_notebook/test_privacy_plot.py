"""The price of privacy as a table and a plot, of figures made up by hand and of those that are kept."""

import math
from pathlib import Path

import pytest
from dp_accounting import get_epsilon_gaussian

from superb_notebook.privacy_plot import load_privacy, plot_privacy, privacy_table

KEPT = Path(__file__).resolve().parents[3] / "benchmarks" / "results" / "privacy.json"
MEASURED = {
    "delta": 1e-5,
    "accuracy_not_private": 0.9,
    "accuracy_clipped": 0.8,
    "rows": [
        {"envoys": envoys, "noise_multiplier": noise, "epsilon": epsilon, "test_accuracy": accuracy}
        for envoys, noise, epsilon, accuracy in [
            (2000, 1.0, 11.5, 0.75),
            (2, 1.0, 11.5, 0.25),
            (2, 0.5, 28.4, 0.5),
            (2000, 0.5, 28.4, 0.78),
        ]
    ],
}


def test_the_table_has_a_row_for_each_noise_the_least_first():
    table = privacy_table(MEASURED)
    assert table.header == ["noise multiplier", "epsilon", "2 envoys", "2,000 envoys"]
    assert table.rows == [
        ["0", "∞", "80.0%", "80.0%"],
        ["0.5", "28.4", "50.0%", "78.0%"],
        ["1", "11.5", "25.0%", "75.0%"],
    ]


def test_the_plot_has_a_line_for_each_crowd_with_strong_privacy_on_the_right():
    (axes,) = plot_privacy(MEASURED).axes
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines) == ["not private", "clipped, no noise", "2 envoys", "2,000 envoys"]
    assert lines["2 envoys"].get_xydata().tolist() == [[11.5, 0.25], [28.4, 0.5]]
    left, right = axes.get_xlim()
    assert left > right


def test_a_notebooks_own_figures_have_their_own_words_and_no_line_of_clipping():
    measured = {name: value for name, value in MEASURED.items() if name != "accuracy_clipped"}
    (axes,) = plot_privacy(measured, "speakers").axes
    assert [line.get_label() for line in axes.lines] == ["not private", "2 speakers", "2,000 speakers"]
    table = privacy_table(measured, "speakers")
    assert table.header[2:] == ["2 speakers", "2,000 speakers"]
    assert [row[0] for row in table.rows] == ["0.5", "1"]


def test_what_is_not_measured_is_no_error(tmp_path: Path):
    assert load_privacy(tmp_path / "none.json") is None
    assert privacy_table(None).rows == []


def test_the_kept_figures_have_the_accountants_epsilon():
    kept = load_privacy(KEPT)
    assert kept is not None
    for row in kept["rows"]:
        sigma = row["noise_multiplier"] / math.sqrt(kept["rounds"])
        assert row["epsilon"] == pytest.approx(get_epsilon_gaussian(sigma, kept["delta"]))
        assert 0 <= row["test_accuracy"] <= 1
