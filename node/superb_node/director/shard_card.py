"""What the director takes from a shard card, a text that an envoy wrote."""

from __future__ import annotations

import json


def training_clips(description: str) -> int | None:
    """Return how many training clips a shard card counts; None if the description is no card."""
    try:
        counts = list(json.loads(description)["clips"]["train"].values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    legal = all(type(count) is int and count >= 0 for count in counts)
    return sum(counts) if legal else None
