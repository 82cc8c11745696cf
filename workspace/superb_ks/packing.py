"""A model's trained tensors, end to end in one vector: what travels in a round.

Only parameters with `requires_grad` are packed. Buffers are not: no model of the Wav2Vec2 family has one
that training changes (they normalise by group or layer, never by batch), and the specification's digest
refuses a node whose buffers differ.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import nn


class Slot(NamedTuple):
    """Where one trained tensor lies in the packed vector: `vector[start:stop].reshape(shape)`."""

    name: str
    shape: tuple[int, ...]
    start: int
    stop: int


def trained_layout(model: nn.Module) -> list[Slot]:
    """Return the slots of all trained parameters, in the order of `named_parameters()`.

    Raises:
        ValueError: every parameter is frozen.
    """
    layout, start = [], 0
    for name, parameter in _trained(model):
        stop = start + parameter.numel()
        layout.append(Slot(name, tuple(parameter.shape), start, stop))
        start = stop
    if not layout:
        raise ValueError(f"{type(model).__name__} has no parameter with requires_grad: nothing to federate")
    return layout


def pack(model: nn.Module) -> np.ndarray:
    """Copy the trained parameters, wherever they are, into a new float32 vector of shape [n_trained]."""
    layout = trained_layout(model)
    vector = torch.empty(layout[-1].stop, dtype=torch.float32)
    for slot, (_, parameter) in zip(layout, _trained(model), strict=True):
        vector[slot.start : slot.stop].view(slot.shape).copy_(parameter.detach())
    return vector.numpy()


def unpack(vector: np.ndarray, model: nn.Module) -> None:
    """Copy a packed vector into the model's trained parameters, in place; their type and device stay.

    Args:
        vector: floating point, shape [n_trained]; may be read-only.
        model: a model with the layout of the one that was packed.

    Raises:
        ValueError: the length is not this model's, or a value is infinite or not a number. The model
            is then unchanged.
    """
    layout = trained_layout(model)
    expected = layout[-1].stop
    if vector.shape != (expected,):
        raise ValueError(f"packed weights have shape {vector.shape}, this model needs ({expected},)")
    # A sum of float32 values cannot overflow float64: it is finite exactly when every value is.
    if not np.isfinite(vector.sum(dtype=np.float64)):
        bad = next(slot.name for slot in layout if not np.isfinite(vector[slot.start : slot.stop]).all())
        raise ValueError(f"packed weights hold infinite or undefined values, the first in {bad!r}")
    with torch.no_grad():
        for slot, (_, parameter) in zip(layout, _trained(model), strict=True):
            # One tensor is copied at a time: PyTorch will not wrap the read-only memory of a message.
            values = np.array(vector[slot.start : slot.stop], dtype=np.float32)
            parameter.copy_(torch.from_numpy(values).view(slot.shape))


def _trained(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
