"""What of a model is trained, and therefore sent. Imports nothing but the standard library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from superb_ks.checked import ABOVE_0, COUNT, Checked, checked, from_name


@dataclass(frozen=True, kw_only=True)
class Tuning(Checked):
    """What all ways to tune a model have (`superb_ks.model.tuning` does it).

    Attributes:
        name: by which `make demo TUNING=...` and the recipes know it.
        summary: what is trained of a pretrained model, for the notebook's table.
    """

    summary: ClassVar[str]


@dataclass(frozen=True, kw_only=True)
class Full(Tuning):
    """All but the convolutional feature encoder; with the model "scratch" that as well."""

    name = "full"
    summary = "all but the feature encoder"


@dataclass(frozen=True, kw_only=True)
class Lora(Tuning):
    """Low-rank adapters and the head (Hu et al., 2021).

    Attributes:
        rank: width of the adapters.
        alpha: the adapters' output is scaled by alpha / rank.
    """

    name = "lora"
    summary = "low-rank adapters, and the head"

    rank: int = checked(COUNT, 8)
    alpha: float = checked(ABOVE_0, 16.0)


@dataclass(frozen=True, kw_only=True)
class Head(Tuning):
    """The head, on hidden states that never change (SUPERB's protocol, Yang et al., 2021)."""

    name = "head"
    summary = "a weighted sum of the layers, and the head"


TUNINGS: dict[str, type[Tuning]] = {kind.name: kind for kind in (Full, Lora, Head)}
"""All ways to tune a model, by name."""


def tuning_named(name: str) -> Tuning:
    """Return a way to tune a model, with its default parameters.

    Raises:
        ValueError: there is none of that name.
    """
    return from_name(TUNINGS, {"name": name}, "tuning")
