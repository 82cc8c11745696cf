"""Pooled metrics are what one node with all the clips would have measured."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from superb_ks.metrics import MAX_RECORDS, MAX_VALUE, admit, as_records, cap, count_records, pooled
from tests.support.any_metrics import ANY_METRICS


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


def test_what_somebody_did_not_report_is_pooled_over_the_others():
    both = pooled({"a": metrics(clips=10, accuracy=0.5, loss=2), "b": metrics(clips=30, loss=4)})
    assert both == {"clips": 10, "accuracy": 0.5, "loss": 3.5}  # 5 of the 10 clips that are scored
    assert pooled({}) == {}


def test_the_shape_that_most_report_is_pooled_and_a_number_before_an_array():
    shapes = {"a": metrics(clips=1, n=[1]), "b": metrics(clips=1, n=[1, 2]), "c": metrics(clips=1, n=[1, 2])}
    assert pooled(shapes)["n"].tolist() == [2, 4]
    assert pooled({"a": metrics(clips=1, loss=[9]), "b": metrics(clips=1, loss=4)}) == {"clips": 2, "loss": 4}


def test_what_fewer_than_half_report_is_left_out():
    assert pooled({"a": metrics(clips=1, f1=1), **dict.fromkeys("bc", metrics(clips=1))}) == {"clips": 3}


def test_nobody_has_clips():
    assert pooled({"a": metrics(clips=0, loss=2)}) == {"clips": 0}


def test_records_have_one_cell_each_and_leave_zeros_out():
    records = as_records(3, "env_one", "test", metrics(accuracy=0.5, confusion=[[0, 2], [0, 0]]))
    cells = [(r["metric_name"], r["metric_value"]) for r in records]
    assert cells == [("accuracy", 0.5), ("confusion[0,1]", 2.0)]
    assert {(r["round"], r["metric_origin"], r["task_name"]) for r in records} == {(3, "env_one", "test")}


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("loss", float("nan"), "loss is nan; legal: finite numbers up to 1e+12"),
        ("loss", -1e13, "loss is -1e+13; legal: finite numbers up to 1e+12"),
        ("confusion", [[1, float("inf")]], "confusion is an array of 2 dimensions; legal: finite numbers"),
        ("confusion", np.zeros((1, 1, 1)), "confusion is an array of 3 dimensions; legal: up to 2"),
        ("accuracy", 1.01, "accuracy is 1.01; legal: a number from 0 to 1"),
        ("accuracy", float("nan"), "accuracy is nan; legal: a number from 0 to 1"),
        ("accuracy", [0.5], "accuracy is an array of 1 dimensions; legal: a number from 0 to 1"),
        ("", 1, "metric ''; legal names: 1 to 60 letters of ASCII"),
        ("x" * 61, 1, "metric 'xxxxxxxx"),
        ("\x1b[2J", 1, r"metric '\x1b[2J'; legal names"),
        ("b", np.ones(MAX_RECORDS), "b makes 12,000 records of the 12,000 that a round may have"),
    ],
)
def test_what_breaks_the_schema_is_left_out_and_named(name, value, fault):
    kept, said = admit("validate", metrics(**{"a": 1, name: value}), MAX_RECORDS)
    assert kept == {"a": 1} and said.startswith(fault)


SHARE, COUNT = "legal: a number from 0 to 1", "legal: a number from 0 to 1e+12"


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        *((name, value, SHARE) for name in ("federated", "personal", "kept") for value in (-0.1, 1.1)),
        *((name, float("nan"), SHARE) for name in ("test_federated", "test_personal")),
        ("test_personal", [0.5], SHARE),
        ("test_clips", -1, COUNT),
        ("clips", float("inf"), COUNT),
        ("clips", [3], COUNT),
    ],
)
def test_what_is_told_of_a_personal_model_is_a_share_or_a_number_of_clips(name, value, fault):
    kept, said = admit("personalise", metrics(**{"a": 1, name: value}), MAX_RECORDS)
    assert kept == {"a": 1} and said.startswith(f"{name} is ") and said.endswith(fault)
    if np.isfinite(value).all():
        assert name in admit("validate", metrics(**{name: value}), MAX_RECORDS)[0], "another task's own name"


@pytest.mark.parametrize(
    ("task", "left", "claims"),
    [
        ("train", {"clips": 5, "test_clips": 30}, ["claims 20 clips, its shard card counts 5"]),
        ("validate", {"clips": 20, "test_clips": 30}, []),
        (
            "personalise",
            {"clips": 6, "test_clips": 7},
            [
                "claims 20 validation clips, its shard card counts 6",
                "claims 30 test clips, its shard card counts 7",
            ],
        ),
    ],
)
def test_clips_are_believed_up_to_what_the_card_counts(task, left, claims):
    claimed, counts = metrics(clips=20, test_clips=30), {"train": 5, "val": 6, "test": 7}
    assert cap(task, claimed, counts) == claims
    assert claimed == left
    assert cap(task, claimed, counts) == cap(task, metrics(clips=20), {}) == []


def test_numbers_go_before_arrays_and_further_faults_are_counted():
    sent = metrics(big=np.ones(9), small=np.ones((2, 2)), loss=1, f1=float("nan"), clips=3)
    kept, said = admit("validate", sent, 6)
    assert set(kept) == {"small", "loss", "clips"} and count_records(kept) == 6
    assert said == "f1 is nan; legal: finite numbers up to 1e+12; and 1 more"
    assert admit("validate", metrics(**{str(number): 1 for number in range(300)}), 9_999)[1] == (
        "there are 300 metrics; legal: 256"
    )


@given(ANY_METRICS, st.integers(0, MAX_RECORDS))
def test_whatever_is_sent_what_is_kept_makes_finite_records_and_no_more_than_there_is_room_for(sent, room):
    kept, said = admit("validate", sent, room)
    assert bool(said) == (len(kept) < len(sent)) and said.isprintable()
    records = as_records(0, "liar", "validate", kept)
    assert len(records) == count_records(kept) <= room
    assert all(abs(each["metric_value"]) <= MAX_VALUE for each in records)
    assert all(len(each["metric_name"]) < 100 and each["metric_name"].isprintable() for each in records)
