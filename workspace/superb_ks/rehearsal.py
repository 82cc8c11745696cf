"""A task, tried where it is written: a step of training, of which nothing is kept."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from transformers import PreTrainedModel

from superb_ks.data import ClipDataset
from superb_ks.settings import Settings

CACHE = "SUPERB_CACHE"


def rehearse(
    train: Callable[..., dict[str, Any]],
    model: PreTrainedModel,
    shard: Mapping[str, ClipDataset],
    settings: Settings,
) -> dict[str, Any]:
    """Call a notebook's training task as an envoy would in its first round, but for a single step.

    Args:
        train: the task, a function that finds `settings` where it was defined.
        model: changed by the step.
        shard: clips under "train".
        settings: the experiment's. During the call the task finds them with `steps_per_round=1`.

    Returns:
        What the task returns. Hidden states that it computed are forgotten: they are not in the user's cache.
    """
    step = replace(settings, epochs_per_round=None, steps_per_round=1)
    names: dict[str, Any] = train.__globals__  # type: ignore[attr-defined]
    own = {name: value for name, value in names.items() if value is settings}
    with tempfile.TemporaryDirectory(prefix="superb_ks_") as folder, _cache_in(folder):
        try:
            names.update(dict.fromkeys(own, step))
            return train(model, shard, device="cpu", optimizer=None, round_num=0)
        finally:
            names.update(own)


@contextmanager
def _cache_in(folder: str) -> Iterator[None]:
    """Have hidden states written to another place for a while."""
    before = os.environ.get(CACHE)
    os.environ[CACHE] = folder
    try:
        yield
    finally:
        os.environ.pop(CACHE)
        if before is not None:
            os.environ[CACHE] = before
