"""The Trainer of transformers, as one round on one envoy needs it."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.utils import get_total_norm
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_utils import TrainOutput

from superb_ks.training.generators import seeded
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
    """A Trainer that prints nothing, leaves the model's `forward` and the global generators alone.

    Attributes:
        autocast_dtype: what the loss is computed in; None: float32.
        proximal: FedProx's term; None: the loss alone. The loss that `train` returns is without it.
        mask_probs: shares of frames and of channels to mask, see `masked_features`.
    """

    autocast_dtype: torch.dtype | None = None
    proximal: ProximalTerm | None = None
    mask_probs: tuple[float | None, float | None] = (None, None)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.remove_callback(PrinterCallback)
        self.finite_steps = FiniteSteps()
        self.add_callback(self.finite_steps)

    def train(self, *args: Any, **kwargs: Any) -> TrainOutput:
        """Train the round; the same seed gives the same weights, whatever was drawn before."""
        assert isinstance(self.model, nn.Module)
        with (
            seeded(self.args.seed, str(self.args.device)),
            masked_features(self.model, *self.mask_probs),
            no_input_gradient(self.model),
            plain_attention(self.model) if self.args.device.type == "cpu" else nullcontext(),
            _garbage_set_aside(),
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
        if self.autocast_dtype is None:
            return nullcontext()
        return torch.autocast(self.args.device.type, self.autocast_dtype, cache_enabled=bool(cache_enabled))

    def _clip_grad_norm(self, model: nn.Module) -> torch.Tensor:
        norm = super()._clip_grad_norm(model)
        self.finite_steps.norm = norm
        return norm


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
    third of a step of the miniature, and a sixth of one of wav2vec2-base. The results differ by rounding.
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


# Python 3.12 freezes some hundred objects of its own when it starts; an envoy, half a million.
_FROZEN_BY_PYTHON = 10_000


@contextmanager
def _garbage_set_aside() -> Iterator[None]:
    """Hide what exists from the garbage collector for a while.

    accelerate collects before it trains. Where so much is imported that takes a quarter of a second, and
    finds nothing: a Trainer that is done is freed with the last reference to it. An envoy has its libraries
    hidden from its start on, and they stay so.
    """
    if gc.get_freeze_count() > _FROZEN_BY_PYTHON:
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
