"""Explicit seeds where a library draws from the process's own generators."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from transformers import set_seed


@contextmanager
def seeded(seed: int, device: str) -> Iterator[None]:
    """Seed Python's, numpy's and PyTorch's global generators, and put them back afterwards.

    Dropout draws from PyTorch's, transformers' masks from numpy's, and the Trainer seeds all of them.

    Args:
        seed: in [0, 2**32).
        device: "cpu" or a CUDA device, whose generator is put back as well.
    """
    python_state, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[torch.device(device)] if device.startswith("cuda") else []):
        set_seed(seed)
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)
