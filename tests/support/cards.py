"""Shard cards for tests: a legal one, and any JSON in the place of one."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

SPLITS = ("train", "val", "test")
WHOLE: dict[str, Any] = {"labels": ["yes", "no"], "clips": dict.fromkeys(SPLITS, {"yes": 3, "no": 2})}
CARD = json.dumps(WHOLE)

NUMBERS = st.integers() | st.floats() | st.sampled_from([10**400, -(10**400), 1e308, 2**31, 2**63])
LEAVES = (
    st.none() | st.booleans() | NUMBERS | st.text(max_size=80) | st.sampled_from(["yes", "no", "\x1b[2J"])
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
)
FIELDS = st.sampled_from(
    ["labels", "clips", "speakers", "seconds", "source", "partition", "rank", "world_size", "skipped"]
    + ["scenario", "data_dir", "test_dir", "notes"]
)
SPLIT_VALUES = st.dictionaries(st.sampled_from(SPLITS) | st.text(max_size=4), VALUES, max_size=4)
ANY_CARDS = (
    st.text(max_size=200)
    | VALUES.map(json.dumps)
    # A legal card with some of its fields replaced: what comes close is what gets through.
    | st.dictionaries(FIELDS, VALUES | SPLIT_VALUES, max_size=3).map(
        lambda some: json.dumps({**WHOLE, **some})
    )
    | st.sampled_from(["[" * 60_000, '{"a":' * 12_000, "9" * 60_000, CARD + " " * 70_000, '{"labels": NaN}'])
)
"""Texts of every kind that an envoy may say instead of a card."""
