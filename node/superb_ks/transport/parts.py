"""The parts of a megabyte that a model is cut into, where it travels and where it is kept."""

from __future__ import annotations

TRAINED = "trained"
"""Name of the one tensor that a model consists of on the wire (see `superb_ks.model.packing`)."""

PART_BYTES = 2**20
"""Bytes of one part. Copies of a part inside gRPC stay in the processor's cache, and its calls are few
enough."""


def count_parts(size: int) -> int:
    """Return how many parts a vector of `size` float32 elements has; at least 1."""
    return max(1, -(-4 * size // PART_BYTES))


def part_name(part: int) -> str:
    """Return the tensor name under which a model is asked for, from part `part` (from 0) on."""
    return f"{TRAINED}/{part}"


def part_number(tensor_name: str) -> int:
    """Return the number in a name made by `part_name`.

    Raises:
        ValueError: the name is another one.
    """
    name, _, number = tensor_name.partition("/")
    if name != TRAINED or not number.isdigit():
        raise ValueError(f"no tensor is named {tensor_name!r}; legal: {part_name(0)}, {part_name(1)}, …")
    return int(number)
