"""One round of local training, on any engine: what federation adds to an ordinary training.

That is a seed for each round and one learning-rate schedule over all rounds. The optimizer and the Trainer
are those of any other fine-tuning; the notebook's train task is `local_trainer`, written out.
"""

from __future__ import annotations

import math

import numpy as np
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedModel

from superb_ks.recipe import CompleteRecipe
from superb_ks.settings import Settings
from superb_ks.training.arguments import RoundArguments
from superb_ks.training.data import ClipDataset
from superb_ks.training.trainer import RoundTrainer


def local_trainer(
    model: PreTrainedModel, clips: ClipDataset, settings: Settings, device: str, round_num: int
) -> RoundTrainer:
    """Prepare one envoy's training in one round; `.train()` runs it and changes the model in place.

    The optimizer is fresh each round, because its moments belong to weights that the average has replaced.
    The learning rate is not: it goes on where the previous round left it.

    Args:
        model: already holding the federation's current weights; moved to the device.
        clips: this envoy's training clips.
        settings: the experiment's.
        device: "cpu", "cuda" or "cuda:0".
        round_num: from 0.

    Raises:
        ValueError: there is no clip.
    """
    recipe = settings.complete_recipe
    arguments = RoundArguments(
        own_device=device,
        num_train_epochs=recipe.epochs_per_round,
        per_device_train_batch_size=recipe.batch_size,
        max_grad_norm=1.0,
        seed=round_seed(settings.seed, round_num),
    )
    trainable = [p for p in model.parameters() if p.requires_grad]
    adamw = AdamW(trainable, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = federated_cosine_schedule(adamw, len(clips), settings, round_num)
    return RoundTrainer(model, arguments, clips, (adamw, schedule), settings)


def round_seed(seed: int, round_num: int) -> int:
    """Return a seed for one round, such that rounds and neighbouring seeds do not repeat each other."""
    return int(np.random.SeedSequence((seed, round_num)).generate_state(1)[0])


def steps_per_round(n_clips: int, recipe: CompleteRecipe) -> int:
    """Return the optimizer steps that an envoy with this many training clips makes in a round."""
    return math.ceil(n_clips / recipe.batch_size) * recipe.epochs_per_round


def lr_factor(step: int, total_steps: int, warmup_fraction: float) -> float:
    """Return the share of the peak learning rate at a step: a linear warm-up, then half a cosine to zero."""
    warmup = round(total_steps * warmup_fraction)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, total_steps - warmup))))


def federated_cosine_schedule(
    optimizer: Optimizer, n_clips: int, settings: Settings, round_num: int
) -> LambdaLR:
    """Return the learning-rate schedule of one round: a section of the one that spans all rounds.

    Args:
        optimizer: holds the peak rate.
        n_clips: training clips of this envoy.
        settings: the experiment's; its rounds and its recipe shape the curve.
        round_num: from 0. One beyond the last, in which an envoy personalises, has a whole curve of its own:
            at the rates of the last section, next to nothing would change.
    """
    recipe = settings.complete_recipe
    steps = steps_per_round(n_clips, recipe)
    is_personal = round_num >= settings.rounds
    total, done = (steps, 0) if is_personal else (settings.rounds * steps, round_num * steps)
    return LambdaLR(optimizer, lambda step: lr_factor(done + step, total, recipe.warmup_fraction))
