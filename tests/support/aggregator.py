"""An aggregator without a network, on a folder as the director leaves it for one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from superb_ks.aggregator.aggregator import Aggregator
from superb_ks.aggregator.checkpoint import write_manifest
from superb_ks.aggregator.model_file import write_model
from superb_ks.settings import Failures, Settings

EXPERIMENT_ID = "federation"


def new_state_folder(folder: Path, size: int) -> Path:
    """Fill a folder as the director does for an experiment of a model of `size` zeros; returns it."""
    folder.mkdir(exist_ok=True)
    write_model(folder / "round-0.safetensors", np.zeros(size, np.float32))
    best: dict[str, Any] = {"best": None, "best_round": None, "best_score": None, "digests": {}}
    write_manifest(folder, {"round": 0, "last": "round-0.safetensors", **best})
    return folder


def aggregator_on(folder: Path, names: list[str], rounds: int, **changes: Any) -> Aggregator:
    """Return an aggregator on such a folder, as the director makes it.

    Args:
        folder: holds the model.
        names: of the collaborators.
        rounds: of training.
        changes: of the settings, those of failures by their own names; or of the aggregator's `clip_limits`.
    """
    limits = {"clip_limits": changes.pop("clip_limits")} if "clip_limits" in changes else {}
    failures = {name: changes.pop(name) for name in Failures.__dataclass_fields__ if name in changes}
    settings = Settings(rounds=rounds, failures=Failures(**failures), **changes)
    return Aggregator(names, settings, folder, experiment_id=EXPERIMENT_ID, **limits)
