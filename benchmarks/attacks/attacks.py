"""What liars send in place of the weights that they arrived at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from superb_ks.aggregator.strategies.updates import MAX_WEIGHT
from superb_ks.types import Vector

MAX_CLIPS = 2**31 - 1
"""More do not fit into the message."""

Lie = Callable[[Vector, Vector, np.random.Generator, np.random.Generator], Vector]
"""From the round's start, the honest result, draws that all liars share, and draws of one's own."""


@dataclass(frozen=True)
class Attack:
    """One way to lie.

    Attributes:
        title: for the table.
        lie: makes the update.
        clips: claimed in the upload; None: the true number.
        card_lies: the shard card counts as many, so that the claim is not cut.
        only_round: the liars are honest in all others; None: they always lie.
    """

    title: str
    lie: Lie
    clips: int | None = None
    card_lies: bool = False
    only_round: int | None = None

    def is_told(self, round_number: int) -> bool:
        """Say whether the liars lie in this round."""
        return self.only_round in (None, round_number)


def _all_weights(value: float) -> Lie:
    """Every weight is `value` or `-value`; liars agree on the signs."""
    return lambda start, honest, shared, _: (value * shared.choice([-1.0, 1.0], start.size)).astype(
        np.float32
    )


def _flipped(times: float) -> Lie:
    """The change in the opposite direction, `times` as long."""
    return lambda start, honest, *_: start - np.float32(times) * (honest - start)


def _noisy(size: float) -> Lie:
    """The honest weights with normal noise, each liar with its own."""
    return lambda start, honest, _, own: (honest + size * own.standard_normal(start.size)).astype(np.float32)


ATTACKS: dict[str, Attack] = {
    "none": Attack("none", lambda start, honest, *_: honest),
    "beyond": Attack("all weights ±1.01 · 10<sup>12</sup> (refused)", _all_weights(1.01 * MAX_WEIGHT)),
    "huge": Attack("all weights ±0.99 · 10<sup>12</sup>", _all_weights(0.99 * MAX_WEIGHT)),
    "huge_once": Attack("the same, in round 5 of 20 alone", _all_weights(0.99 * MAX_WEIGHT), only_round=5),
    "flip_1": Attack("change × -1", _flipped(1.0)),
    "flip_10": Attack("change × -10", _flipped(10.0)),
    "clips": Attack("change × -1, claims 2<sup>31</sup> - 1 clips", _flipped(1.0), clips=MAX_CLIPS),
    "clips_and_card": Attack(
        "the same, and so does its shard card", _flipped(1.0), clips=MAX_CLIPS, card_lies=True
    ),
    "noise_0.1": Attack("noise 0.1", _noisy(0.1)),
    "noise_1": Attack("noise 1", _noisy(1.0)),
    "noise_10": Attack("noise 10", _noisy(10.0)),
}
"""All attacks by name, in the order of the table; the first is none."""
