"""A model's trainable tensors, end to end in one vector: what travels in a round.

Only parameters with `requires_grad` are packed. Buffers are not: no model of the Wav2Vec2 family has one
that training changes (they normalise by group or layer, never by batch), and the specification's digest
refuses a node whose buffers differ.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import nn

_CACHE_LINE = 64  # bytes


class Slot(NamedTuple):
    """Where one trainable tensor lies in the packed vector: `vector[start:stop].reshape(shape)`."""

    name: str
    shape: tuple[int, ...]
    start: int
    stop: int


def trainable_layout(model: nn.Module) -> list[Slot]:
    """Return the slots of all trainable parameters, in the order of `named_parameters()`.

    Raises:
        ValueError: every parameter is frozen.
    """
    layout, start = [], 0
    for name, parameter in _trainable(model):
        stop = start + parameter.numel()
        layout.append(Slot(name, tuple(parameter.shape), start, stop))
        start = stop
    if not layout:
        raise ValueError(f"{type(model).__name__} has no parameter with requires_grad: nothing to federate")
    return layout


def empty_vector(size: int) -> np.ndarray:
    """Return a float32 vector of shape [size] that begins at a cache line, as PyTorch's tensors do."""
    # From NumPy, because it asks for large pages and PyTorch does not.
    memory = np.empty(4 * size + _CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % _CACHE_LINE
    return memory[start : start + 4 * size].view(np.float32)


def pack(model: nn.Module, out: np.ndarray | None = None) -> np.ndarray:
    """Copy the trainable parameters, wherever they are, into a float32 vector of shape [n_trainable].

    Args:
        model: the model.
        out: the vector to copy into, if it has that shape; else a new one is made. Memory that was used
            before takes a fraction of the time of new memory, which must be found page by page.
    """
    layout = trainable_layout(model)
    if out is None or out.shape != (layout[-1].stop,):
        out = empty_vector(layout[-1].stop)
    packed = torch.from_numpy(out)
    for slot, (_, parameter) in zip(layout, _trainable(model), strict=True):
        if not _lies_there(parameter, out[slot.start : slot.stop]):
            packed[slot.start : slot.stop].view(slot.shape).copy_(parameter.detach())
    return out


def unpack(vector: np.ndarray, model: nn.Module) -> None:
    """Copy a packed vector into the model's trainable parameters, in place; their type and device stay.

    Args:
        vector: floating point, shape [n_trainable]; may be read-only.
        model: a model with the layout of the one that was packed.

    Raises:
        ValueError: the length is not this model's, or a value is infinite or not a number. The model
            is then unchanged, unless it lies in `vector` itself.
    """
    layout = trainable_layout(model)
    expected = layout[-1].stop
    if vector.shape != (expected,):
        raise ValueError(f"packed weights have shape {vector.shape}, this model needs ({expected},)")
    # A sum of finite values may overflow, so one that is not finite is only a reason to look closer.
    with np.errstate(over="ignore", invalid="ignore"):
        suspicious = not np.isfinite(vector.sum())
    bad = [s.name for s in layout if suspicious and not np.isfinite(vector[s.start : s.stop]).all()]
    if bad:
        raise ValueError(f"packed weights hold infinite or undefined values, the first in {bad[0]!r}")
    with torch.no_grad():
        for slot, (_, parameter) in zip(layout, _trainable(model), strict=True):
            values = vector[slot.start : slot.stop]
            if _lies_there(parameter, values):
                continue
            if not values.flags.writeable or values.dtype != np.float32:
                # One tensor is copied at a time: PyTorch will not wrap the read-only memory of a message.
                values = np.array(values, dtype=np.float32)
            parameter.copy_(torch.from_numpy(values).view(slot.shape))


def _trainable(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]


def _lies_there(parameter: nn.Parameter, values: np.ndarray) -> bool:
    """Say whether a parameter's memory is that of `values`, so that there is nothing to copy."""
    return parameter.data_ptr() == values.ctypes.data and parameter.is_contiguous()
