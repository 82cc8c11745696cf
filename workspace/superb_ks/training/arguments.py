"""What the Trainer of transformers is told about one round, the device included."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from transformers import TrainingArguments

from superb_ks.recipe import CompleteRecipe


@dataclass
class RoundArguments(TrainingArguments):
    """Arguments of a training on one given device.

    Corrects: transformers trains on the first GPU, or spreads a model over every GPU that it sees; an envoy
    has the one that OpenFL gave it.

    Attributes:
        own_device: "cpu", "cuda", or a certain GPU such as "cuda:1".
    """

    own_device: str = "cpu"

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


def round_arguments(recipe: CompleteRecipe, device: str, seed: int, scratch: str) -> RoundArguments:
    """Return the arguments of one round.

    Args:
        recipe: how the model is trained.
        device: as PyTorch names it.
        seed: of the round.
        scratch: a folder that the Trainer may have; it leaves it empty.
    """
    return RoundArguments(
        output_dir=scratch,
        own_device=device,
        num_train_epochs=recipe.epochs_per_round,
        per_device_train_batch_size=recipe.batch_size,
        seed=seed,
        use_cpu=device == "cpu",
        dataloader_pin_memory=device != "cpu",
        remove_unused_columns=False,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
