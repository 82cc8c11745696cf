"""The data scientist's side of the sine federation: 0.1 million weights that train in milliseconds.

Everything here travels as source in the experiment's text, faults included: what goes wrong on which envoy
and in which round is a `Script` that the tasks look up.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from openfl.interface.interactive_api.experiment import TaskInterface
from torch import nn

SAMPLES, LABELS, STEPS, LEARNING_RATE = 256, 3, 5, 5.0
# What a faulty envoy sends for every weight: finite, so that it is not refused.
GARBAGE = -1e6


@dataclass(frozen=True)
class Gate:
    """Training waits for a `file` to appear; before `last_round` for so many `seconds` at most."""

    file: str
    last_round: int
    seconds: float = 0.5

    def wait(self, round_number: int) -> None:
        """Wait in a round of training."""
        give_up_at = time.monotonic() + (math.inf if round_number == self.last_round else self.seconds)
        while not os.path.exists(self.file) and time.monotonic() < give_up_at:
            time.sleep(0.05)


@dataclass(frozen=True)
class Script:
    """What goes wrong in training, by the envoy's rank: in which rounds, or how many seconds it takes.

    Besides, how much is trained: `steps` on the full shard in each round, and what it waits for.
    """

    seconds: dict[int, float] = field(default_factory=dict)
    raises: dict[int, tuple[int, ...]] = field(default_factory=dict)
    nan: dict[int, tuple[int, ...]] = field(default_factory=dict)
    other_shape: dict[int, tuple[int, ...]] = field(default_factory=dict)
    no_clips: dict[int, tuple[int, ...]] = field(default_factory=dict)
    garbage: dict[int, tuple[int, ...]] = field(default_factory=dict)
    cannot_build: tuple[int, ...] = ()
    edition: int = 0
    ballast: int = 100_000
    steps: int = STEPS
    gate: Gate | None = None


class SineNet(nn.Linear):
    """One linear layer, and a ballast that tells who was averaged: each step adds a hundredth of the rank."""

    def __init__(self, ballast: int) -> None:
        super().__init__(SAMPLES, LABELS)
        self.ballast = nn.Parameter(torch.zeros(ballast))
        self.too_many = False
        with torch.no_grad():
            self.weight.zero_()
            self.bias.zero_()

    def named_parameters(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Parameter]]:
        yield from super().named_parameters(*args, **kwargs)
        if self.too_many:
            yield "one_too_many", nn.Parameter(torch.ones(7))

    def to(self, *args: Any, **kwargs: Any) -> SineNet:
        self.too_many = False  # new weights are about to be loaded
        return super().to(*args, **kwargs)


@dataclass
class Shard:
    """One envoy's clips as arrays, and its rank."""

    rank: int
    splits: dict[str, tuple[torch.Tensor, torch.Tensor]]


def spectrum(waves: np.ndarray) -> torch.Tensor:
    """Return the magnitudes of waves' spectra, which tell pitches apart whatever their phase."""
    return torch.from_numpy(np.abs(np.fft.fft(waves)).astype(np.float32) / SAMPLES)


def sine_model(script: Script) -> Callable[[], SineNet]:
    """Return what builds the model."""

    def build_model() -> SineNet:
        return SineNet(script.ballast)

    return build_model


def sine_shard(script: Script) -> Callable[[Any], Shard]:
    """Return what reads a shard of sine waves into memory."""

    def open_shard(descriptor: Any) -> Shard:
        if descriptor.rank in script.cannot_build:
            raise RuntimeError(f"rank {descriptor.rank} cannot build its data")
        splits = {}
        for name in descriptor.get_shard_dataset_types():
            clips = descriptor.get_dataset(name)
            waves = np.stack([clips[index][0] for index in range(len(clips))])
            labels = np.asarray([clips[index][1] for index in range(len(clips))])
            splits[name] = (spectrum(waves), torch.from_numpy(labels))
        return Shard(descriptor.rank, splits)

    return open_shard


def sine_tasks(script: Script) -> TaskInterface:
    """Return the tasks `train`, `validate` and `test`, with what `script` lets go wrong."""
    tasks = TaskInterface()

    @tasks.register_fl_task(
        model="model", data_loader="shard", device="device", optimizer="optimizer", round_num="round_num"
    )
    def train(model, shard, device, optimizer, round_num):
        rank = shard.rank
        time.sleep(script.seconds.get(rank, 0.0))
        if script.gate is not None:
            script.gate.wait(round_num)
        if round_num in script.raises.get(rank, ()):
            raise ArithmeticError(f"rank {rank} cannot train in round {round_num}")
        features, labels = shard.splits["train"]
        for _ in range(script.steps):
            loss = nn.functional.cross_entropy(model(features), labels)
            gradients = torch.autograd.grad(loss, [model.weight, model.bias])
            with torch.no_grad():
                for parameter, gradient in zip([model.weight, model.bias], gradients, strict=True):
                    parameter -= LEARNING_RATE * gradient
                model.ballast += 0.01 * rank
        if round_num in script.nan.get(rank, ()):
            model.weight.detach()[0, 0] = float("nan")
        if round_num in script.garbage.get(rank, ()):
            for parameter in (model.weight, model.bias, model.ballast):
                parameter.detach().fill_(GARBAGE)
        model.too_many = round_num in script.other_shape.get(rank, ())
        clips = 0 if round_num in script.no_clips.get(rank, ()) else len(labels)
        return {"loss": loss.item(), "clips": clips}

    def score(model, shard, split):
        features, labels = shard.splits[split]
        with torch.no_grad():
            logits = model(features)
        right = (logits.argmax(dim=1) == labels).double().mean().item()
        loss = nn.functional.cross_entropy(logits, labels).item()
        return {"accuracy": right, "loss": loss, "clips": len(labels), "edition": script.edition}

    @tasks.register_fl_task(model="model", data_loader="shard", device="device")
    def validate(model, shard, device):
        return score(model, shard, "val")

    @tasks.register_fl_task(model="model", data_loader="shard", device="device")
    def test(model, shard, device):
        return score(model, shard, "test")

    return tasks


def tasks_that(tell: Callable[[], dict[str, float]]) -> TaskInterface:
    """Return tasks that return what `tell` returns, whatever they are asked to do."""
    tasks = TaskInterface()

    @tasks.register_fl_task(
        model="model", data_loader="shard", device="device", optimizer="optimizer", round_num="round_num"
    )
    def train(model, shard, device, optimizer, round_num):
        return tell()

    @tasks.register_fl_task(model="model", data_loader="shard", device="device")
    def validate(model, shard, device):
        return tell()

    @tasks.register_fl_task(model="model", data_loader="shard", device="device")
    def test(model, shard, device):
        return tell()

    return tasks


def ballast_after(rounds: Iterable[Iterable[int]]) -> float:
    """Work out the ballast by hand: `rounds` says which ranks (12 clips times the rank) were averaged."""
    total = 0.0
    for ranks in map(list, rounds):
        clips = sum(12 * rank for rank in ranks)
        total += sum(12 * rank / clips * (STEPS * 0.01 * rank) for rank in ranks)
    return total
