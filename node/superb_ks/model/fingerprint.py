"""A model's fingerprint: what must agree on all nodes before trained weights can be averaged."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import torch
from torch import nn


def digest(model: nn.Module) -> str:
    """Return a model's fingerprint: two SHA-256 sums in hexadecimal, joined by a dot.

    The first covers name, type, shape and content of every frozen parameter and buffer, the second name and
    shape of every trainable parameter: all that must agree before trained weights can be averaged.
    """
    parameters = list(model.named_parameters())
    frozen = [(name, p) for name, p in parameters if not p.requires_grad] + list(model.named_buffers())
    trainable = [(name, p) for name, p in parameters if p.requires_grad]
    return f"{_sha256(frozen, content=True)}.{_sha256(trainable, content=False)}"


def _sha256(tensors: Iterable[tuple[str, torch.Tensor]], content: bool) -> str:
    checksum = hashlib.sha256()
    for name, tensor in tensors:
        checksum.update(f"{name} {tuple(tensor.shape)}\n".encode())
        if content:
            checksum.update(f"{tensor.dtype}\n".encode())
            checksum.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return checksum.hexdigest()
