"""Metrics of every kind that an envoy may send in the place of honest ones."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

NAMES = st.sampled_from(["accuracy", "loss", "clips", "confusion", "confusion[0,1]", "seconds", "bytes_up"])
NUMBERS = st.floats() | st.sampled_from([0.0, 1.0, 1e12, -1e12, 1e308, float("nan")])
ARRAYS = arrays(np.float64, array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3), elements=NUMBERS)
ANY_METRICS = st.dictionaries(
    NAMES | st.text(max_size=80), NUMBERS.map(np.asarray) | ARRAYS | st.just(np.ones((130, 100))), max_size=5
)
