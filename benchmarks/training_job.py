"""What the training benchmark trains on and with: noise instead of clips, and a plain PyTorch loop."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader
from transformers import PreTrainedModel

from superb_ks.augmentation import Augmentation
from superb_ks.data import ClipDataset
from superb_ks.model import SAMPLING_RATE, ModelSpec
from superb_ks.settings import SUPERB_LABELS, Settings
from superb_ks.tasks import autocast_dtype, lr_over_federation, round_seed, steps_per_round

CLIP_NORM = 1.0
"""The norm to which the Trainer clips gradients by default."""


@dataclass(frozen=True)
class NoiseClips:
    """One-second clips of noise with labels, made when they are asked for.

    Attributes:
        count: number of clips.
        seed: of the noise; clip `i` depends on it and on `i` only.
    """

    count: int
    seed: int = 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        """Return a waveform, float32 [16000], and its label."""
        draw = np.random.default_rng((self.seed, index))
        return draw.uniform(-0.1, 0.1, SAMPLING_RATE).astype(np.float32), index % len(SUPERB_LABELS)


def noise_dataset(spec: ModelSpec, clips: int, seed: int = 0) -> ClipDataset:
    """Return clips of noise as a model takes them."""
    return ClipDataset(NoiseClips(clips, seed), spec.feature_extractor())


def plain_training(
    model: PreTrainedModel, dataset: ClipDataset, settings: Settings, round_num: int = 0
) -> float:
    """Train a round as a plain PyTorch loop would; returns the mean loss.

    Optimizer, schedule, input, precision and gradient clipping are those of the training task.
    """
    recipe = settings.recipe
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = lr_over_federation(optimizer, steps_per_round(len(dataset), recipe), settings, round_num)
    dtype = autocast_dtype(settings.precision, "cpu")
    seed = round_seed(settings.seed, round_num)
    order = torch.Generator().manual_seed(seed)
    loader = DataLoader(
        dataset.for_training(Augmentation.of(recipe, seed)),
        batch_size=recipe.batch_size,
        shuffle=True,
        generator=order,
        collate_fn=dataset.collate,
    )
    losses = []
    model.train()
    for _ in range(recipe.epochs_per_round):
        for batch in loader:
            with nullcontext() if dtype is None else torch.autocast("cpu", dtype):
                loss = model(**batch).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            losses.append(loss.item())
    return float(np.mean(losses))
