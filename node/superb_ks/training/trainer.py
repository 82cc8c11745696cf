"""The Trainer of transformers, as one round on one envoy needs it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import (
    PreTrainedModel,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_utils import TrainOutput

from superb_ks.model.tuning import is_head_tuned
from superb_ks.settings import FedProx, Settings
from superb_ks.training.arguments import RoundArguments
from superb_ks.training.augmentation import Augmentation
from superb_ks.training.data import ClipDataset
from superb_ks.training.generators import seeded
from superb_ks.training.head import HeadTrainer
from superb_ks.training.masking import masked_features
from superb_ks.training.proximal import ProximalTerm

logger = logging.getLogger(__name__)


class FiniteSteps(TrainerCallback):
    """Skips an optimizer step whose gradient is infinite or undefined.

    One such step would turn all weights into NaN, and the federation's average with them. It was seen about
    once in 500 steps in bfloat16 on a CPU with AMX: oneDNN's weight gradient of a strided conv1d (64 channels
    to 96, kernel 8, stride 4, 1,599 samples) multiplies what lies behind its input by zero; a NaN stays NaN.

    Attributes:
        norm: of the next step's gradient, where the Trainer has it from clipping already; else None.
        skipped: steps skipped so far.
    """

    norm: torch.Tensor | None = None
    skipped = 0

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Take the gradients away, so that the optimizer finds nothing to do."""
        norm, self.norm = self.norm, None
        if norm is None:
            norm = get_total_norm([p.grad for p in kwargs["model"].parameters() if p.grad is not None])
        if not torch.isfinite(norm):
            self.skipped += 1
            kwargs["model"].zero_grad()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Tell how many steps were lost; a round without a single one is an error."""
        if self.skipped == state.global_step:
            raise FloatingPointError(
                "no step of this round had a finite gradient: lower the learning rate, or set "
                "precision='float32' to see whether bfloat16 is to blame"
            )
        if self.skipped:
            rare = self.skipped <= 0.02 * state.global_step
            level = logging.INFO if rare else logging.WARNING
            logger.log(level, "%d of %d steps skipped: gradient not finite", self.skipped, state.global_step)


class RoundTrainer(Trainer):
    """The Trainer of transformers for one round on one envoy.

    It trains like any other. What it adds: FedProx's term, no step by a gradient that is not finite, global
    random generators that stay as they were, a head that is trained on cached hidden states (`HeadTrainer`).

    Args:
        model: moved to the device.
        args: a `RoundArguments`.
        train_dataset: this envoy's training clips as they are; each epoch hears them in another take, as the
            recipe says.
        optimizers: the optimizer, and its learning-rate schedule for this round.
        settings: the experiment's.

    Attributes:
        proximal: FedProx's term; None: the loss alone. The loss that `train` returns is without it.

    Raises:
        ValueError: there is no clip.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        args: RoundArguments,
        train_dataset: ClipDataset,
        optimizers: tuple[Optimizer, LambdaLR],
        settings: Settings,
    ) -> None:
        if len(train_dataset) == 0:
            raise ValueError("nothing to train on: the dataset has no clips")
        nn.Module.to(model, args.device)  # before anything keeps a copy of its weights
        recipe = settings.complete_recipe
        takes = train_dataset.for_training(Augmentation.of(recipe, args.seed))
        with seeded(args.seed, str(args.device)):
            super().__init__(
                model, args, data_collator=takes.collate, train_dataset=takes, optimizers=optimizers
            )
        self.remove_callback(PrinterCallback)
        self.finite_steps = FiniteSteps()
        self.add_callback(self.finite_steps)
        self._autocast_dtype = autocast_dtype(settings.precision, str(args.device))
        self._mask_probs = recipe.mask_time_prob, recipe.mask_feature_prob
        mu = settings.strategy.mu if isinstance(settings.strategy, FedProx) else 0.0
        self.proximal = ProximalTerm(model.parameters(), mu) if mu > 0 else None
        self._head = _head_trainer(model, args, train_dataset, optimizers) if is_head_tuned(model) else None

    def train(self, *args: Any, **kwargs: Any) -> TrainOutput:
        """Train the round; the same seed gives the same weights, whatever was drawn before."""
        assert isinstance(self.model, nn.Module)
        if self._head is not None:
            self._head.proximal = self.proximal
            return self._head.train()
        with (
            seeded(self.args.seed, str(self.args.device)),
            masked_features(self.model, *self._mask_probs),
            no_input_gradient(self.model),
            plain_attention(self.model) if self.args.device.type == "cpu" else nullcontext(),
        ):
            return super().train(*args, **kwargs)

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Compute the loss and the gradients, the proximal term's included; returns the loss without it."""
        loss = super().training_step(*args, **kwargs)
        if self.proximal is not None:
            self.proximal.add_gradient()
        return loss

    def autocast_smart_context_manager(self, cache_enabled: bool | None = True) -> AbstractContextManager:
        """Autocast around the loss alone.

        `TrainingArguments(bf16=True)` would wrap the model's `forward` for good: evaluation would then run
        in bfloat16 too, under one more wrapper for each round.
        """
        if self._autocast_dtype is None:
            return nullcontext()
        return torch.autocast(self.args.device.type, self._autocast_dtype, cache_enabled=bool(cache_enabled))

    def _clip_grad_norm(self, model: nn.Module) -> torch.Tensor:
        norm = super()._clip_grad_norm(model)
        self.finite_steps.norm = norm
        return norm


def _head_trainer(
    model: PreTrainedModel,
    args: RoundArguments,
    clips: ClipDataset,
    optimizers: tuple[Optimizer, LambdaLR],
) -> HeadTrainer:
    """Return what trains a head on cached hidden states by the same arguments."""
    return HeadTrainer(
        model,
        clips,
        *optimizers,
        epochs=int(args.num_train_epochs),
        batch_size=args.per_device_train_batch_size,
        seed=args.seed,
        device=str(args.device),
    )


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


@contextmanager
def no_input_gradient(model: nn.Module) -> Iterator[None]:
    """Spare a training the gradient with respect to the waveform.

    The family's feature encoder asks for it on behalf of gradient checkpointing, unless it was frozen by
    `freeze_feature_encoder`: without it the first convolution's backward pass is half as long, and a frozen
    encoder has none at all. The weights' gradients are the same.
    """
    asking: list[Any] = [
        module
        for module in model.modules()
        if vars(module).get("_requires_grad") is True and not getattr(module, "gradient_checkpointing", False)
    ]
    for module in asking:
        module._requires_grad = False
    try:
        yield
    finally:
        for module in asking:
            module._requires_grad = True


@contextmanager
def plain_attention(model: nn.Module) -> Iterator[None]:
    """Train with attention made of single operations instead of PyTorch's fused one.

    On a processor, over the fifty frames of a clip, the backward pass of the fused one is slow: it takes a
    third of a step of the tiny model, and a sixth of one of wav2vec2-base. The results differ by rounding.
    """
    config: Any = model.config
    switch: Any = model
    if config._attn_implementation != "sdpa":  # as with WavLM, which has an attention of its own
        yield
        return
    switch.set_attn_implementation("eager")
    try:
        yield
    finally:
        switch.set_attn_implementation("sdpa")
