"""Whether an exported model answers as the one in PyTorch, and how long each takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch

PYTORCH, FLOAT32, INT8 = "PyTorch", "model.onnx", "model_int8.onnx"

Recogniser = Callable[[np.ndarray], np.ndarray]
"""From a waveform, float32 [n_samples] at 16 kHz, to the probability of each class, float32 [n_classes]."""

CLOSE = 1e-3
"""How far a probability in float32 may be from PyTorch's; it is some 1e-6 away."""


class Measured:
    """What one program makes of the clips.

    Attributes:
        probabilities: float32 [n_clips, n_classes].
        milliseconds: of each clip.
    """

    def __init__(self) -> None:
        self.probabilities: list[np.ndarray] = []
        self.milliseconds: list[float] = []

    def classify(self, recognise: Recogniser, waveform: np.ndarray) -> None:
        """Classify one more clip."""
        start = time.perf_counter()
        self.probabilities.append(recognise(waveform))
        self.milliseconds.append(1e3 * (time.perf_counter() - start))

    @property
    def answers(self) -> np.ndarray:
        """The likeliest class of each clip, int64 [n_clips]."""
        return np.argmax(self.probabilities, axis=-1)

    def correct(self, labels: np.ndarray) -> int:
        """Return how many answers are right."""
        return int(np.sum(self.answers == labels))


def measure(programs: Mapping[str, Recogniser], clips: Iterable[np.ndarray]) -> dict[str, Measured]:
    """Let the programs classify the clips on one thread, in turns, so that all meet the same load.

    Args:
        programs: by the name that is shown.
        clips: waveforms, float32 [n_samples] at 16 kHz.
    """
    measured = {name: Measured() for name in programs}
    with _one_thread():
        for waveform in clips:
            for name, recognise in programs.items():
                measured[name].classify(recognise, waveform)
    return measured


def float32_fault(measured: Mapping[str, Measured]) -> str | None:
    """Say how the float32 file disagrees with PyTorch, or return None."""
    ours, theirs = measured[FLOAT32], measured[PYTORCH]
    others = int(np.sum(ours.answers != theirs.answers))
    apart = float(np.max(np.abs(np.array(ours.probabilities) - np.array(theirs.probabilities))))
    if others == 0 and apart <= CLOSE:
        return None
    return f"{others} answers differ from PyTorch's, probabilities by up to {apart:.2g}; legal: 0, {CLOSE:g}"


def int8_fault(measured: Mapping[str, Measured], labels: np.ndarray) -> str | None:
    """Say how far the int8 file's accuracy is from PyTorch's, or return None if it is close."""
    ours, theirs = (measured[name].correct(labels) for name in (INT8, PYTORCH))
    if 200 * abs(ours - theirs) <= len(labels):
        return None
    return f"{ours} of {len(labels)} answers are right, PyTorch's {theirs}; legal: half a point apart at most"


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
