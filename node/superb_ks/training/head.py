"""Training and scoring of a head on cached hidden states: milliseconds a pass, on a processor too."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from transformers import PreTrainedModel
from transformers.trainer_utils import TrainOutput

from superb_ks.training.data import ClipDataset
from superb_ks.training.hidden_states import PooledHiddenStates, pooled_hidden_states
from superb_ks.training.proximal import ProximalTerm

EVAL_CHUNK = 1024
"""Clips that are scored in one go."""


def head_logits(model: PreTrainedModel, states: torch.Tensor) -> torch.Tensor:
    """Return what the whole model answers to clips, from their pooled hidden states.

    The model computes classifier(mean_t(projector(sum_l a_l h_lt))), with a the softmax of its layer weights.
    Projector and sum are affine, so the mean over time may come first.

    Args:
        model: for audio classification, with `use_weighted_layer_sum`.
        states: float32 [batch, layers + 1, hidden_size], on the model's device.

    Returns:
        [batch, n_classes].
    """
    head: Any = model
    shares = torch.softmax(head.layer_weights, dim=-1)
    return head.classifier(head.projector(shares @ states))


class HeadTrainer:
    """One envoy's training of a head in one round; `.train()` runs it and changes the model in place.

    It stands where the `Trainer` of transformers does for the other tunings, whose work around each step
    takes longer than such a step itself. It trains in float32, on clips as they are.

    Args:
        model: its head alone is trained.
        dataset: this envoy's training clips.
        optimizer: of the head's weights.
        schedule: of the optimizer's rate.
        epochs: passes over all clips.
        batch_size: clips in a step.
        seed: of the clips' order.
        device: "cpu" or a CUDA device.

    Attributes:
        proximal: FedProx's term; None: the loss alone.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        dataset: ClipDataset,
        optimizer: Optimizer,
        schedule: LRScheduler,
        *,
        epochs: int,
        batch_size: int,
        seed: int,
        device: str,
    ) -> None:
        self.model, self.dataset, self.optimizer, self.schedule = model, dataset, optimizer, schedule
        self.epochs, self.batch_size, self.device = epochs, batch_size, device
        self.proximal: ProximalTerm | None = None
        self._draw = torch.Generator().manual_seed(seed)

    def train(self) -> TrainOutput:
        """Train; returns the steps made and `training_loss`, the mean of theirs.

        The `metrics` with them are the seconds of a pass over all clips: `first_pass_seconds`, in which
        their hidden states are computed, unless they are known, and `later_pass_seconds`, the mean of the
        epochs over these states.

        Raises:
            FloatingPointError: the loss has become infinite or undefined.
        """
        started = time.perf_counter()
        pooled = pooled_hidden_states(self.model, self.dataset, self.device)
        read = time.perf_counter()
        total, steps = 0.0, 0
        for _ in range(self.epochs):
            for indices in torch.randperm(len(pooled.labels), generator=self._draw).split(self.batch_size):
                loss = self._step(pooled, indices)
                total += loss
                if not total < float("inf"):
                    raise FloatingPointError(f"the loss of step {steps} is {loss}: lower the learning rate")
                steps += 1
        self.optimizer.zero_grad()
        seconds = {"first_pass_seconds": read - started}
        seconds["later_pass_seconds"] = (time.perf_counter() - read) / self.epochs
        return TrainOutput(steps, total / steps, seconds)

    def _step(self, pooled: PooledHiddenStates, indices: torch.Tensor) -> float:
        """Make one step; returns its loss, whose reading also waits for a GPU."""
        logits = head_logits(self.model, pooled.states[indices].to(self.device))
        loss = cross_entropy(logits, pooled.labels[indices].to(self.device))
        self.optimizer.zero_grad()
        loss.backward()
        if self.proximal is not None:
            self.proximal.add_gradient()
        self.optimizer.step()
        self.schedule.step()
        return loss.item()


def cached_answers(
    model: PreTrainedModel, dataset: ClipDataset, device: str
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield logits [n, n_classes] and labels [n] of all clips, part by part."""
    pooled = pooled_hidden_states(model, dataset, device)
    for indices in torch.arange(len(pooled.labels)).split(EVAL_CHUNK):
        with torch.inference_mode():
            yield head_logits(model, pooled.states[indices].to(device)), pooled.labels[indices]
