"""A tone, and a model that knows it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from superb_ks.model.spec import ModelSpec
from superb_ks.training.data import ClipDataset


def tone(rate: int) -> np.ndarray:
    """Return a second of 440 Hz, float32 [rate]."""
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)).astype(np.float32)


def save_tone_model(folder: Path) -> None:
    """Save a model that has learned to call a tone "yes" and soft noise silence."""
    draw = np.random.default_rng(0)
    silence = [(0.01 * draw.standard_normal(16_000)).astype(np.float32) for _ in range(6)]
    clips: list[tuple[np.ndarray, int]] = [(noise, 1) for noise in silence]
    clips += [
        (noise + gain * tone(16_000), 0)
        for noise, gain in zip(silence, (1, 0.8, 0.6, 0.5, 0.4, 0.3), strict=True)
    ]
    spec = ModelSpec("tiny", ("yes", "_silence_"), seed=1)
    model, extractor = spec.build(), spec.feature_extractor()
    dataset = ClipDataset(clips, extractor)
    batch = dataset.collate([dataset[index] for index in range(len(clips))])
    with torch.no_grad():
        frames = model.wav2vec2(batch["input_values"]).last_hidden_state
    head = [*model.projector.parameters(), *model.classifier.parameters()]
    optimizer = torch.optim.Adam(head, 3e-3)
    for _ in range(60):
        logits = model.classifier(model.projector(frames).mean(dim=1))
        loss = torch.nn.functional.cross_entropy(logits, batch["labels"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
