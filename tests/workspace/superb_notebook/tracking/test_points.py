"""What becomes of a record."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from superb_notebook.tracking.points import Note, Point, read
from tests.workspace.experiment_records import record, two_rounds


@pytest.mark.parametrize(
    ("given_record", "written"),
    [
        (record(3, "env_one", "train", "loss", 0.5), Point("train/loss/env_one", 3, 0.5)),
        (record(0, "aggregator", "round", "seconds", 2.5), Point("round/seconds/aggregator", 0, 2.5)),
        (
            record(3, "env_one", "test_best", "confusion[3,11]", 7),
            Point("test_best-confusion/3_11/env_one", 3, 7.0),
        ),
        (record(1, "env_two", "dropped", "killed", 0), Note(1, "env_two dropped out: killed")),
        (
            record(1, "aggregator", "stopped_early", "enough", 0),
            Note(1, "aggregator ended training early: enough"),
        ),
        (record(1, "env_one", "validate", "accuracy", math.nan), None),
        (record(1, "env_one", "validate", "loss", math.inf), None),
    ],
)
def test_a_record_is_a_point_or_a_note(given_record, written):
    assert read(given_record) == written


@given(st.text(max_size=60), st.sampled_from(["env_one", "..", "/etc"]))
def test_names_have_three_parts_whatever_a_metric_is_called(metric, origin):
    point = read(record(0, origin, "train", metric, 1.0))
    assert isinstance(point, Point)
    assert re.fullmatch(r"[\w-]+/[\w-]*/[\w-]+", point.name, re.ASCII)


def test_no_two_records_of_an_experiment_share_a_name_and_a_step():
    points = [read(each) for each in two_rounds()]
    assert len({(point.name, point.step) for point in points}) == len(points)
