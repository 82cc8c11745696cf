"""A rehearsal is a single step, and leaves nothing behind."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from superb_ks.data import ClipDataset
from superb_ks.model import ModelSpec
from superb_ks.rehearsal import rehearse
from superb_ks.settings import SUPERB_LABELS, Settings
from superb_ks.tasks import local_trainer

settings = Settings(model="tiny", tuning="head", steps_per_round=1000)
"""The task below finds them here, as a notebook's does."""


def train(model: Any, shard: Any, device: str, optimizer: Any, round_num: int) -> dict[str, Any]:
    result = local_trainer(model, shard["train"], settings, device, round_num).train()
    return {"steps": result.global_step, "cache": os.environ["SUPERB_CACHE"]}


def failing(model: Any, shard: Any, device: str, optimizer: Any, round_num: int) -> dict[str, Any]:
    raise KeyError(settings.steps_per_round)


def test_a_rehearsal_is_one_step_and_leaves_cache_and_settings_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPERB_CACHE", str(tmp_path))
    before = settings
    spec = ModelSpec.of(settings, SUPERB_LABELS)
    noise = [(np.random.default_rng(0).normal(0, 0.1, 16_000).astype("float32"), 0)] * 4
    shard = {"train": ClipDataset(noise, spec.feature_extractor())}
    told = rehearse(train, spec.build(), shard, settings)
    assert told["steps"] == 1
    assert not Path(told["cache"]).exists()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyError, match="^1$"):
        rehearse(failing, spec.build(), shard, settings)
    assert settings is before
    assert os.environ["SUPERB_CACHE"] == str(tmp_path)
