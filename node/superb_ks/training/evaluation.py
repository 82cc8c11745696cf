"""The evaluation of a model on whole clips, in batches that need no padding."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from superb_ks.model.tuning import is_head_tuned
from superb_ks.training.data import ClipDataset
from superb_ks.training.head import cached_answers


def evaluate(
    model: PreTrainedModel, dataset: ClipDataset, device: str, batch_size: int = 32
) -> dict[str, float | int | np.ndarray]:
    """Score a model in float32 on whole clips.

    Only clips of the same length share a batch: models with group norm take padding for sound, so a padded
    clip would not get the answer that it gets alone, from the transformers pipeline.

    Args:
        model: the model; moved to the device.
        dataset: the clips.
        device: "cpu" or a CUDA device.
        batch_size: clips in one forward pass at most; it does not change the result. Where the head alone is
            trained, its answers come from hidden states that were computed before.

    Returns:
        `accuracy` and mean cross-entropy `loss`, `clips` scored, and `confusion`, int64 of shape
        [n_classes, n_classes], true classes in rows.

    Raises:
        ValueError: there is no clip.
    """
    if len(dataset) == 0:
        raise ValueError("nothing to evaluate: the dataset has no clips")
    n_classes = len(model.config.id2label or {})
    confusion = np.zeros((n_classes, n_classes), dtype=np.int64)
    loss = 0.0
    if is_head_tuned(model) and dataset.augmentation is None:
        answers = cached_answers(model, dataset, device)
    else:
        answers = _answers(model, dataset, device, batch_size)
    for logits, labels in answers:
        logits = logits.float().cpu()
        loss += cross_entropy(logits, labels, reduction="sum").item()
        np.add.at(confusion, (labels.numpy(), logits.argmax(dim=-1).numpy()), 1)
    clips = int(confusion.sum())
    return {
        "accuracy": float(confusion.trace()) / clips,
        "loss": loss / clips,
        "clips": clips,
        "confusion": confusion,
    }


def _answers(
    model: PreTrainedModel, dataset: ClipDataset, device: str, batch_size: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield logits [n, n_classes] and labels [n] of all clips, batch by batch; the model's mode stays."""
    was_training = model.training
    nn.Module.to(model, device)
    model.eval()
    with torch.inference_mode():
        for batch in _equal_length_batches(dataset, batch_size):
            labels = batch.pop("labels")
            yield model(**{name: values.to(device) for name, values in batch.items()}).logits, labels
    model.train(was_training)


def _equal_length_batches(dataset: ClipDataset, batch_size: int) -> Iterator[dict[str, torch.Tensor]]:
    """Yield collated batches without padding, holding few clips of each length at a time."""
    waiting: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for index in range(len(dataset)):
        item = dataset[index]
        group = waiting[len(item["input_values"])]
        group.append(item)
        if len(group) == batch_size:
            yield dataset.collate(group)
            group.clear()
    for group in waiting.values():
        if group:
            yield dataset.collate(group)
