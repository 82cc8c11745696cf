"""The data scientist's side of the sine federation: 0.1 million weights that train in milliseconds.

Everything here travels by value in the experiment's pickles, faults included: what goes wrong on which envoy
and in which round is a `Script` that the tasks look up.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import cloudpickle
import numpy as np
import torch
from openfl.interface.interactive_api.experiment import DataInterface, ModelInterface, TaskInterface
from torch import nn

from superb_ks.collaborator.openfl_adapter import PackedAdapter

cloudpickle.register_pickle_by_value(sys.modules[__name__])

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
    reports_edition: bool = False
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


class SineModel(ModelInterface):
    """A `SineNet`, built where it is first needed."""

    def __init__(self, script: Script) -> None:
        super().__init__(
            model=None,
            optimizer=None,
            framework_plugin=f"{PackedAdapter.__module__}.{PackedAdapter.__qualname__}",
        )
        self.script = script
        self.model: nn.Module | None = None

    def provide_model(self) -> nn.Module:
        if self.model is None:
            self.model = SineNet(self.script.ballast)
        return self.model

    def provide_optimizer(self) -> None:
        return None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "model": None}


@dataclass
class Shard:
    """One envoy's clips as arrays, and its rank."""

    rank: int
    splits: dict[str, tuple[torch.Tensor, torch.Tensor]]


def spectrum(waves: np.ndarray) -> torch.Tensor:
    """Return the magnitudes of waves' spectra, which tell pitches apart whatever their phase."""
    return torch.from_numpy(np.abs(np.fft.fft(waves)).astype(np.float32) / SAMPLES)


class SineData(DataInterface):
    """Reads a shard of sine waves into memory."""

    def __init__(self, script: Script) -> None:
        super().__init__()
        self.script = script

    @property
    def shard_descriptor(self) -> Any:
        return self._shard_descriptor

    @shard_descriptor.setter
    def shard_descriptor(self, descriptor: Any) -> None:
        if descriptor.rank in self.script.cannot_build:
            raise RuntimeError(f"rank {descriptor.rank} cannot build its data")
        self._shard_descriptor = descriptor
        splits = {}
        for name in descriptor.get_shard_dataset_types():
            clips = descriptor.get_dataset(name)
            waves = np.stack([clips[index][0] for index in range(len(clips))])
            labels = np.asarray([clips[index][1] for index in range(len(clips))])
            splits[name] = (spectrum(waves), torch.from_numpy(labels))
        self.shard = Shard(descriptor.rank, splits)

    def get_train_loader(self, **_: Any) -> Shard:
        return self.shard

    def get_valid_loader(self, **_: Any) -> Shard:
        return self.shard

    def get_train_data_size(self) -> int:
        return len(self.shard.splits["train"][1])

    def get_valid_data_size(self) -> int:
        return len(self.shard.splits["val"][1])


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
        metrics = {"accuracy": right, "loss": loss, "clips": len(labels)}
        if script.reports_edition:
            # Written by the drill into the package that is shipped.
            from superb_ks.edition import EDITION  # type: ignore[import-not-found]

            metrics["edition"] = EDITION
        return metrics

    @tasks.register_fl_task(model="model", data_loader="shard", device="device")
    def validate(model, shard, device):
        return score(model, shard, "val")

    @tasks.register_fl_task(model="model", data_loader="shard", device="device")
    def test(model, shard, device):
        return score(model, shard, "test")

    return tasks


def ballast_after(rounds: Iterable[Iterable[int]]) -> float:
    """Work out the ballast by hand: `rounds` says which ranks (12 clips times the rank) were averaged."""
    total = 0.0
    for ranks in map(list, rounds):
        clips = sum(12 * rank for rank in ranks)
        total += sum(12 * rank / clips * (STEPS * 0.01 * rank) for rank in ranks)
    return total
