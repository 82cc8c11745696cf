"""An aggregator without a network, on a folder as the director leaves it for one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from openfl.component.assigner.custom_assigner import Assigner

from superb_ks.aggregator.aggregator import PackedAggregator
from superb_ks.aggregator.assigner import ScheduledAssigner
from superb_ks.aggregator.checkpoint import write_manifest
from superb_ks.aggregator.model_file import write_model


def new_state_folder(folder: Path, size: int) -> Path:
    """Fill a folder as the director does for an experiment of a model of `size` zeros; returns it."""
    folder.mkdir(exist_ok=True)
    write_model(folder / "round-0.safetensors", np.zeros(size, np.float32), {})
    best: dict[str, Any] = {"best": None, "best_round": None, "best_score": None, "digests": {}}
    write_manifest(folder, {"round": 0, "last": "round-0.safetensors", **best})
    return folder


def packed_aggregator(
    folder: Path, names: list[str], rounds: int, fraction: float = 1.0, seed: int = 0, **settings: Any
) -> PackedAggregator:
    """Return an aggregator on such a folder, as OpenFL's plan makes it."""
    schedule = ScheduledAssigner(rounds, fraction, seed)
    assigner = Assigner(
        assigner_function=schedule,
        aggregation_functions_by_task=None,
        authorized_cols=names,
        rounds_to_train=schedule.total_rounds,
    )
    return PackedAggregator(
        aggregator_uuid="aggregator",
        federation_uuid="federation",
        authorized_cols=names,
        init_state_path=None,
        best_state_path=None,
        last_state_path=None,
        assigner=assigner,
        rounds_to_train=schedule.total_rounds,
        initial_tensor_dict={"state_folder": folder},
        **settings,
    )
