"""The evaluation of a model on whole clips, in batches that need no padding."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from superb_ks.model.tuning import is_head_tuned
from superb_ks.training.data import ClipDataset
from superb_ks.training.head import cached_answers


def evaluate(
    model: PreTrainedModel, dataset: ClipDataset, device: str
) -> dict[str, float | int | np.ndarray]:
    """Score a model in float32 on whole clips, each as if it were alone.

    Where the head alone is trained, its answers come from hidden states that were computed before.

    Args:
        model: the model; moved to the device.
        dataset: the clips.
        device: "cpu" or a CUDA device.

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
        answers = _answers(model, dataset, device)
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
    model: PreTrainedModel, dataset: ClipDataset, device: str
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield logits [n, n_classes] and labels [n] of all clips, batch by batch; the model's mode stays."""
    was_training = model.training
    nn.Module.to(model, device)
    model.eval()
    with torch.inference_mode():
        for _, batch in dataset.equal_length_batches():
            labels = batch.pop("labels")
            yield model(**{name: values.to(device) for name, values in batch.items()}).logits, labels
    model.train(was_training)
