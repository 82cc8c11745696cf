"""The job that every engine does: Wav2Vec2 models, a training step that adds a constant, and an event log.

Imports torch and transformers only, because Flower's app has a copy of it, without the rest of the project.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import Wav2Vec2Config, Wav2Vec2ForSequenceClassification
from transformers.initialization import no_init_weights

STEP = 2.0**-10
"""What a training step adds to every weight; its sums with small weights are nearly exact in float32."""

LABELS = 12


def _narrow(hidden: int, layers: int, feed_forward: int, convolution: int) -> dict[str, Any]:
    """Return a Wav2Vec2 with the published depth of convolutions, but narrow."""
    return dict(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=feed_forward,
        conv_dim=(convolution,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        classifier_proj_size=hidden,
    )


ARCHITECTURES: dict[str, dict[str, Any]] = {
    "small": _narrow(56, 4, 112, 16),
    "1m": _narrow(128, 5, 384, 64),
    "10m": _narrow(320, 7, 1280, 192),
    "base": {},  # wav2vec2-base is what the configuration's defaults describe
    "large": dict(
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        conv_bias=True,
    ),
}
"""Configurations by size: 0.12, 1, 10, 94.6 and 315 million parameters."""


@dataclass(frozen=True)
class Job:
    """What is measured once.

    Attributes:
        size: a key of `ARCHITECTURES`.
        clients: collaborators, each a process of its own.
        rounds: training rounds.
        seed: of the initial weights.
    """

    size: str = "small"
    clients: int = 2
    rounds: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.size not in ARCHITECTURES:
            raise ValueError(f"size is {self.size!r}; legal: {', '.join(ARCHITECTURES)}")
        for name in ("clients", "rounds"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; legal: 1 and more")


def empty_model(size: str) -> Wav2Vec2ForSequenceClassification:
    """Return a model with undefined weights: for nodes, which receive all before the first task."""
    with no_init_weights():
        return Wav2Vec2ForSequenceClassification(
            Wav2Vec2Config(**{"num_labels": LABELS, **ARCHITECTURES[size]})
        ).eval()


def random_model(size: str, seed: int) -> Wav2Vec2ForSequenceClassification:
    """Return a model with weights drawn from a seed, every parameter trained."""
    model = empty_model(size)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.02, generator=generator)
    return model


def parameter_count(size: str) -> int:
    """Return how many parameters a model of a size has."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in empty_model(size).parameters())


def train_step(model: torch.nn.Module) -> None:
    """Add `STEP` to every weight, in place: the cheapest training there is."""
    with torch.no_grad():
        torch._foreach_add_(list(model.parameters()), STEP)


def evaluate(model: torch.nn.Module) -> float:
    """Return one number that tells how often the model was trained: the first weight of its last tensor."""
    return float(list(model.parameters())[-1].detach().reshape(-1)[0])


@dataclass(frozen=True)
class EventLog:
    """A file to which all processes of a run append what happens, one JSON object a line.

    Attributes:
        path: the file; lines are short enough for the operating system to append each at once.
    """

    path: str | Path

    def note(self, event: str, **values: Any) -> None:
        """Append `{"t": seconds since the epoch, "event": event, …}`."""
        line = json.dumps({"t": time.time(), "event": event, **values}) + "\n"
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(line)

    def read(self) -> list[dict[str, Any]]:
        """Return all events in the order of time."""
        path = Path(self.path)
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        return sorted((json.loads(line) for line in lines), key=lambda event: event["t"])
