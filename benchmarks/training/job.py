"""What the training benchmark trains on and with: noise instead of clips, and a plain PyTorch loop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import PreTrainedModel

from superb_ks.model.spec import SAMPLING_RATE, ModelSpec
from superb_ks.recipe import CompleteRecipe
from superb_ks.settings import SUPERB_LABELS, Settings
from superb_ks.training.augmentation import Augmentation
from superb_ks.training.data import ClipDataset
from superb_ks.training.local import federated_cosine_schedule, round_seed
from superb_ks.training.masking import masked_features
from superb_ks.training.trainer import autocast_dtype, no_input_gradient, plain_attention

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
    model: PreTrainedModel,
    dataset: ClipDataset,
    settings: Settings,
    round_num: int = 0,
    *,
    device: str = "cpu",
    naive: bool = False,
) -> float:
    """Train a round as a plain PyTorch loop would; returns the mean loss.

    Optimizer, schedule, input, precision and gradient clipping are those of the training task.

    Args:
        model: moved to the device.
        dataset: the clips.
        settings: the experiment's.
        round_num: from 0.
        device: "cpu" or a CUDA device.
        naive: leave out what else the task sets, as most would write the loop: the kind of attention, and
            that nobody wants the gradient of the waveform.
    """
    recipe, seed = settings.complete_recipe, round_seed(settings.seed, round_num)
    nn.Module.to(model, device)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = federated_cosine_schedule(optimizer, len(dataset), settings, round_num)
    dtype = autocast_dtype(settings.precision, device)
    losses = []
    model.train()
    masks = masked_features(model, recipe.mask_time_prob, recipe.mask_feature_prob)
    with masks, nullcontext() if naive else as_the_task(model, device):
        for batch in batches(dataset, recipe, seed, device):
            with nullcontext() if dtype is None else torch.autocast(torch.device(device).type, dtype):
                loss = model(**batch).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            losses.append(loss.item())
    return float(np.mean(losses))


def plain_evaluation(model: PreTrainedModel, dataset: ClipDataset, device: str = "cpu") -> float:
    """Score a model as a plain PyTorch loop would, in batches of 32; returns the accuracy."""
    nn.Module.to(model, device)
    model.eval()
    loader = DataLoader(dataset, batch_size=32, collate_fn=dataset.collate, pin_memory=device != "cpu")
    right = 0
    with torch.inference_mode():
        for batch in loader:
            labels = batch.pop("labels")
            logits = model(
                **{name: values.to(device, non_blocking=True) for name, values in batch.items()}
            ).logits
            right += int((logits.argmax(-1).cpu() == labels).sum())
    return right / len(dataset)


def batches(
    dataset: ClipDataset, recipe: CompleteRecipe, seed: int, device: str
) -> Iterator[dict[str, torch.Tensor]]:
    """Yield the batches of a round, in random order, on the device."""
    loader = DataLoader(
        dataset.for_training(Augmentation.of(recipe, seed)),
        batch_size=recipe.batch_size,
        shuffle=True,
        generator=torch.Generator().manual_seed(seed),
        collate_fn=dataset.collate,
        pin_memory=device != "cpu",
    )
    for _ in range(recipe.epochs_per_round):
        for batch in loader:
            yield {name: values.to(device, non_blocking=True) for name, values in batch.items()}


@contextmanager
def as_the_task(model: PreTrainedModel, device: str) -> Iterator[None]:
    """Set what the task sets while it trains (see `superb_ks.training.trainer.RoundTrainer.train`)."""
    with no_input_gradient(model), plain_attention(model) if device == "cpu" else nullcontext():
        yield


def unfrozen(model: PreTrainedModel) -> PreTrainedModel:
    """Return a model as `from_pretrained` leaves it, everything trained."""
    encoder: Any = model.get_submodule("wav2vec2.feature_extractor")
    encoder._requires_grad = True
    return model.requires_grad_(True)
