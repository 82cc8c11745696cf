"""Pooled metrics are what one node with all the clips would have measured."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from superb_ks.metrics import as_records, pooled


def metrics(**values: object) -> dict[str, np.ndarray]:
    return {name: np.asarray(value, np.float64) for name, value in values.items()}


def test_scalars_are_weighted_by_clips_arrays_are_summed():
    reports = {
        "two": metrics(clips=30, accuracy=0.9, confusion=[[20, 3], [0, 7]], seconds=9),
        "one": metrics(clips=10, accuracy=0.5, confusion=[[1, 2], [3, 4]], seconds=2),
    }
    result = pooled(reports)
    assert result["clips"] == 40
    assert np.isclose(result["accuracy"], 0.8)  # (10 · 0.5 + 30 · 0.9) / 40
    assert result["confusion"].tolist() == [[21, 5], [3, 11]]
    assert "seconds" not in result


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=6))
def test_pooled_accuracy_is_the_accuracy_over_all_clips(counts):
    counts = [(right, right + wrong + 1) for right, wrong in counts]
    reports = {f"e{i}": metrics(clips=n, accuracy=right / n) for i, (right, n) in enumerate(counts)}
    everyone = sum(right for right, _ in counts) / sum(n for _, n in counts)
    assert np.isclose(pooled(reports)["accuracy"], everyone)


def test_what_somebody_did_not_report_is_left_out():
    assert set(pooled({"a": metrics(clips=1, loss=2, f1=1), "b": metrics(clips=1, loss=4)})) == {
        "clips",
        "loss",
    }
    assert pooled({}) == {}


def test_nobody_has_clips():
    assert pooled({"a": metrics(clips=0, loss=2)}) == {"clips": 0}


def test_records_have_one_cell_each_and_leave_zeros_out():
    records = as_records(3, "env_one", "test", metrics(accuracy=0.5, confusion=[[0, 2], [0, 0]]))
    cells = [(r["metric_name"], r["metric_value"]) for r in records]
    assert cells == [("accuracy", 0.5), ("confusion[0,1]", 2.0)]
    assert {(r["round"], r["metric_origin"], r["task_name"]) for r in records} == {(3, "env_one", "test")}
