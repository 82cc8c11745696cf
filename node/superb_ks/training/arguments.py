"""The arguments of the transformers Trainer for one round on one device."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from transformers import TrainingArguments


@dataclass
class RoundArguments(TrainingArguments):
    """`TrainingArguments` of one round: on a given device, silent, and without files.

    A round is short: there is nothing to log, to save or to resume in it. The experiment's records, its
    checkpoints and its resumption belong to the aggregator.

    Corrects: transformers trains on the first GPU, or spreads a model over every GPU that it sees; an envoy
    has the one that OpenFL gave it.

    Attributes:
        own_device: "cpu", "cuda", or a certain GPU such as "cuda:1".
    """

    own_device: str = "cpu"
    remove_unused_columns: bool = False
    save_strategy: Any = "no"
    logging_strategy: Any = "no"
    report_to: Any = "none"
    disable_tqdm: bool | None = True

    def __post_init__(self) -> None:
        """Choose the device before transformers does."""
        self.use_cpu = self.own_device == "cpu"
        self.dataloader_pin_memory = not self.use_cpu
        super().__post_init__()

    @property
    def should_save(self) -> bool:
        """Nothing is saved, so the Trainer needs no folder either."""
        return False

    @cached_property
    def _setup_devices(self) -> torch.device:
        """Set up accelerate as transformers does, then put this device in the place of its choice."""
        chosen: torch.device = super()._setup_devices
        device = torch.device(self.own_device)
        if device.type == "cuda":
            device = torch.device("cuda", chosen.index or 0 if device.index is None else device.index)
            torch.cuda.set_device(device)
        self._n_gpu = min(self._n_gpu, 1)
        # All of accelerate shares this state: it is where models and batches are put.
        self.distributed_state.device = device
        return device
