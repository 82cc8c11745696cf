"""Which values are legal for the fields of address, recipe, strategies and privacy. Imports nothing heavy."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable
from typing import Any

Range = tuple[Callable[[Any], bool], str]
"""Whether a value is legal, and which values are, in words."""


def is_int(value: Any, low: int, high: float = math.inf) -> bool:
    """Tell whether a value is a whole number from `low` to `high`; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def is_real(value: Any) -> bool:
    """Tell whether a value is a finite number; True and False are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
# A last part of digits alone would be taken for an address.
_HOST_NAME = re.compile(rf"(?=.{{1,253}}$)({_LABEL}\.)*(?!\d+$){_LABEL}")


def is_host(value: Any) -> bool:
    """Tell whether a value is the name or the address of a host, of IPv6 with or without brackets."""
    if not isinstance(value, str):
        return False
    try:
        ipaddress.ip_address(value[1:-1] if value.startswith("[") and value.endswith("]") else value)
    except ValueError:
        return _HOST_NAME.fullmatch(value) is not None
    return True


_COUNT: Range = (lambda value: is_int(value, 1), "a whole number from 1")
_SHARE: Range = (lambda value: is_real(value) and 0 <= value < 1, "in [0, 1)")
_HALF_A_SECOND: Range = (lambda value: is_real(value) and 0 <= value <= 0.5, "in [0, 0.5]")
_ABOVE_0: Range = (lambda value: is_real(value) and value > 0, "above 0")
_FROM_0: Range = (lambda value: is_real(value) and value >= 0, "from 0")

RECIPE_RANGES: dict[str, Range] = {
    "epochs_per_round": _COUNT,
    "steps_per_round": _COUNT,
    "batch_size": _COUNT,
    "learning_rate": _ABOVE_0,
    "warmup_fraction": _SHARE,
    "weight_decay": _FROM_0,
    "balanced_classes": (lambda value: isinstance(value, bool), "True or False"),
    "speed_change": _SHARE,
    "shift_seconds": _HALF_A_SECOND,
    "time_mask_seconds": _HALF_A_SECOND,
    "mask_time_prob": _SHARE,
    "mask_feature_prob": _SHARE,
    "lora_rank": _COUNT,
    "lora_alpha": _ABOVE_0,
}

STRATEGY_RANGES: dict[str, Range] = {
    "proximal_mu": _FROM_0,
    "server_learning_rate": _ABOVE_0,
    "server_beta1": _SHARE,
    "server_beta2": _SHARE,
    "server_tau": _ABOVE_0,
    "trim_fraction": (lambda value: is_real(value) and 0 <= value < 0.5, "in [0, 0.5)"),
}

PRIVACY_RANGES: dict[str, Range] = {
    "dp_clip_norm": _ABOVE_0,
    "dp_noise_multiplier": _ABOVE_0,
    "dp_delta": (lambda value: is_real(value) and 0 < value < 1, "in (0, 1)"),
}

DP_DELTA = 1e-5
"""`dp_delta` where none is set."""

PRIVATE_STRATEGIES = ("fedavg", "fedprox", "fedadam", "fedyogi")
"""Strategies that average: how far one envoy can move a median depends on the others."""
