"""What an envoy does to train the model: a round of local training, in one schedule with all the others.

The tasks themselves are in the notebook, because they are the lesson; this is the machinery under them.
"""

from __future__ import annotations

import math
import shutil
import tempfile
import weakref

import numpy as np
import torch
from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedModel

from superb_ks.model.tuning import is_head_tuned
from superb_ks.recipe import CompleteRecipe
from superb_ks.settings import FedProx, Settings
from superb_ks.training.arguments import round_arguments
from superb_ks.training.augmentation import Augmentation
from superb_ks.training.data import ClipDataset
from superb_ks.training.generators import seeded
from superb_ks.training.head import HeadTrainer
from superb_ks.training.proximal import ProximalTerm
from superb_ks.training.trainer import RoundTrainer


def local_trainer(
    model: PreTrainedModel, dataset: ClipDataset, settings: Settings, device: str, round_num: int
) -> RoundTrainer | HeadTrainer:
    """Prepare one envoy's training in one round; `.train()` runs it and changes the model in place.

    The optimizer is fresh each round, because its moments belong to weights that the average has replaced.
    The learning rate is not: it goes on where the previous round left it.

    Args:
        model: the model, already holding the federation's current weights; moved to the device.
        dataset: this envoy's training clips.
        settings: the experiment's.
        device: "cpu", "cuda" or "cuda:0".
        round_num: from 0.

    Raises:
        ValueError: there is no clip.
    """
    if len(dataset) == 0:
        raise ValueError("nothing to train on: the dataset has no clips")
    nn.Module.to(model, device)  # before anything keeps a copy of its weights
    recipe, seed = settings.complete_recipe, round_seed(settings.seed, round_num)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = AdamW(trained, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    steps = steps_per_round(len(dataset), recipe)
    schedule = lr_over_federation(optimizer, steps, settings, round_num)
    trainer: RoundTrainer | HeadTrainer
    if is_head_tuned(model):
        how = {"steps": steps, "batch_size": recipe.batch_size, "seed": seed}
        trainer = HeadTrainer(model, dataset, optimizer, schedule, **how, device=device)
    else:
        takes = dataset.for_training(Augmentation.of(recipe, seed))
        trainer = _round_trainer(model, takes, recipe, seed, device, (optimizer, schedule))
        trainer.autocast_dtype = autocast_dtype(settings.precision, device)
    if isinstance(settings.strategy, FedProx) and settings.strategy.mu > 0:
        trainer.proximal = ProximalTerm(trained, settings.strategy.mu)
    return trainer


def _round_trainer(
    model: PreTrainedModel,
    takes: ClipDataset,
    recipe: CompleteRecipe,
    seed: int,
    device: str,
    optimizers: tuple[Optimizer, LambdaLR],
) -> RoundTrainer:
    """Set up the Trainer of transformers for one round."""
    scratch = tempfile.mkdtemp(prefix="superb_ks_")  # the Trainer insists on a folder, and leaves it empty
    with seeded(seed, device):
        trainer = RoundTrainer(
            model=model,
            args=round_arguments(recipe, device, seed, scratch),
            train_dataset=takes,
            data_collator=takes.collate,
            optimizers=optimizers,
        )
    trainer.mask_probs = recipe.mask_time_prob, recipe.mask_feature_prob
    weakref.finalize(trainer, shutil.rmtree, scratch, ignore_errors=True)
    return trainer


def autocast_dtype(precision: str, device: str) -> torch.dtype | None:
    """Return what to autocast to on a device, or None for plain float32.

    Args:
        precision: "float32", "bfloat16", or "auto": bfloat16 where the hardware multiplies in it.
        device: as PyTorch names it.
    """
    if precision == "auto":
        # Emulated bfloat16, on older hardware, is slower than float32.
        native = (
            torch.cuda.is_bf16_supported(including_emulation=False)
            if torch.device(device).type == "cuda"
            else bool(torch.cpu.get_capabilities().get("avx512_bf16"))
        )
        precision = "bfloat16" if native else "float32"
    return torch.bfloat16 if precision == "bfloat16" else None


def round_seed(seed: int, round_num: int) -> int:
    """Return a seed for one round, such that rounds and neighbouring seeds do not repeat each other."""
    return int(np.random.SeedSequence((seed, round_num)).generate_state(1)[0])


def steps_per_round(n_clips: int, recipe: CompleteRecipe) -> int:
    """Return the optimizer steps that an envoy with so many training clips makes in a round."""
    return math.ceil(n_clips / recipe.batch_size) * recipe.epochs_per_round


def lr_factor(step: int, total_steps: int, warmup_fraction: float) -> float:
    """Return the share of the peak learning rate at a step: a linear warm-up, then half a cosine to zero."""
    warmup = round(total_steps * warmup_fraction)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, total_steps - warmup))))


def lr_over_federation(
    optimizer: Optimizer, steps_per_round: int, settings: Settings, round_num: int
) -> LambdaLR:
    """Return the learning-rate schedule of one round: a section of the one that spans all rounds.

    Args:
        optimizer: holds the peak rate.
        steps_per_round: optimizer steps of this envoy in each round.
        settings: the experiment's; its rounds and warm-up shape the curve.
        round_num: from 0.
    """
    total, done = settings.rounds * steps_per_round, round_num * steps_per_round
    warmup = settings.complete_recipe.warmup_fraction
    return LambdaLR(optimizer, lambda step: lr_factor(done + step, total, warmup))
