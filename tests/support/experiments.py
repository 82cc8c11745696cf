"""Small experiments as text, for tests that run none of them."""

from __future__ import annotations

import json
from typing import Any

from superb_ks.experiment import Experiment
from superb_ks.settings import Settings

TASKS = """\
def train(model, shard, device, optimizer):
    return {"clips": 1}


def validate(model, shard, device):
    return {"accuracy": 0.5, "clips": 1}


def test(model, shard, device):
    return {"accuracy": 0.5, "clips": 1}
"""
ARGUMENTS = {
    "train": {"model": "model", "data_loader": "shard", "device": "device", "optimizer": "optimizer"},
    "validate": {"model": "model", "data_loader": "shard", "device": "device"},
    "test": {"model": "model", "data_loader": "shard", "device": "device"},
}
MODEL = {"name": "scratch", "labels": ["yes", "no"], "seed": 0, "tuning": {"name": "full"}, "digest": None}


def experiment_text(tasks: str = TASKS, **changes: Any) -> bytes:
    """Return a sound experiment; `changes` are of its settings."""
    return Experiment(Settings(**changes), MODEL, tasks, ARGUMENTS).to_bytes()


def changed_text(**changes: Any) -> bytes:
    """Return an experiment of which fields have other values, sound or not."""
    return json.dumps({**json.loads(experiment_text()), **changes}).encode()
