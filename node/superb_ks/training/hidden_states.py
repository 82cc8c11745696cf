"""Hidden states of a frozen upstream, averaged over time: computed once per clip, kept as long as the clips.

SUPERB's head is linear up to its mean over time, and so is the weighted sum of the layers. The mean of a
clip's hidden states is therefore all that a head ever needs: layers + 1 vectors, not fifty times as many.
They are kept in float32, so that scores through the cache and through the whole model agree to the clip.
"""

from __future__ import annotations

import tempfile
import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from superb_ks.training.data import ClipDataset

MAX_MEMORY_BYTES = 256 * 2**20
"""The states of a larger data set lie in a temporary file, of which the system keeps in memory what fits."""


@dataclass(frozen=True, eq=False)
class PooledHiddenStates:
    """The states of a data set's clips, float32 [n_clips, layers + 1, hidden_size], and their labels."""

    states: torch.Tensor
    labels: torch.Tensor


_cache: weakref.WeakKeyDictionary[ClipDataset, tuple[Any, PooledHiddenStates]] = weakref.WeakKeyDictionary()


def pooled_hidden_states(model: PreTrainedModel, dataset: ClipDataset, device: str) -> PooledHiddenStates:
    """Return the states of a data set's clips; computed again if the upstream is not that of the last call.

    Clips of equal length share a pass, so that none is padded and each gets the states that it gets alone.

    Args:
        model: for audio classification, its upstream frozen; moved to the device.
        dataset: the clips, taken whole and as they are, without augmentation.
        device: "cpu" or a CUDA device.

    Raises:
        FloatingPointError: a clip leads to values that are infinite or undefined.
        ValueError: the upstream is to be trained, so that its hidden states change.
    """
    nn.Module.to(model, device)
    base = model.base_model
    if trainable := [parameter for parameter in base.parameters() if parameter.requires_grad]:
        raise ValueError(f"the upstream is trained ({len(trainable)} tensors): its hidden states change")
    # A tensor that is replaced or written to shows here.
    tensors = [(tensor.data_ptr(), tensor._version) for tensor in (*base.parameters(), *base.buffers())]
    upstream = (weakref.ref(base), tensors)
    if dataset not in _cache or _cache[dataset][0] != upstream:
        _cache[dataset] = upstream, _compute(model, dataset, device)
    return _cache[dataset][1]


def pool(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Run the upstream on a batch and average each layer's hidden states over time.

    Args:
        model: for audio classification, in evaluation mode.
        batch: `input_values` [batch, n_samples] and, for models that use one, `attention_mask`: the mean is
            then over the frames that are not padding, as the models themselves take it.

    Returns:
        float32 [batch, layers + 1, hidden_size].
    """
    mask = batch.get("attention_mask")
    outputs = model.base_model(batch["input_values"], attention_mask=mask, output_hidden_states=True)
    states = torch.stack(outputs.hidden_states, dim=1)
    if mask is None:
        return states.mean(dim=2)
    valid = model._get_feature_vector_attention_mask(states.shape[2], mask).to(states.dtype)
    return torch.einsum("blth,bt->blh", states, valid / valid.sum(dim=1, keepdim=True))


def _compute(model: PreTrainedModel, dataset: ClipDataset, device: str) -> PooledHiddenStates:
    """Read every clip once, and run the upstream as soon as enough of a length are there."""
    config: Any = model.config
    states = _empty(len(dataset), config.num_hidden_layers + 1, config.hidden_size)
    labels = torch.empty(len(dataset), dtype=torch.int64)
    whole = ClipDataset(dataset.clips, dataset.extractor)
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        for indices, batch in whole.equal_length_batches():
            labels[indices] = batch.pop("labels")
            pooled = pool(model, {name: values.to(device) for name, values in batch.items()}).float().cpu()
            if not torch.isfinite(pooled).all():
                raise FloatingPointError("a clip leads to hidden states that are infinite or undefined")
            states[indices] = pooled
    model.train(was_training)
    return PooledHiddenStates(states, labels)


def _empty(*shape: int) -> torch.Tensor:
    """Return a float32 tensor, in memory or in a file that goes with it."""
    if 4 * int(np.prod(shape)) <= MAX_MEMORY_BYTES:
        return torch.empty(shape)
    with tempfile.TemporaryFile() as file:  # without a name; the mapping keeps it
        return torch.from_numpy(np.memmap(file, np.float32, "w+", shape=shape))
