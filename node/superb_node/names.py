"""Legal names of experiments, envoys and users: names become folders, and come from outside."""

from __future__ import annotations

from superb_ks.settings import NAME_PATTERN
from superb_node.text import quoted

_NUMBERS = "one two three four five six seven eight nine ten".split()
ALL = "all"
"""What a plot calls all envoys together."""
RESERVED = ("aggregator", ALL, "authority", "director")
"""By these names records, certificates and plots mean something else."""


def is_legal_name(name: str) -> bool:
    """Return whether an experiment, an envoy or a user may have this name."""
    return NAME_PATTERN.fullmatch(name) is not None


def illegal_name(what: str, name: str) -> str:
    """Return the message for an illegal name.

    Args:
        what: has the name, such as "experiment name".
        name: the illegal one.
    """
    return f"{what} {quoted(name)}; legal: a letter, then up to 62 letters, digits, '-' or '_'"


def fault_of_envoy_name(name: str) -> str:
    """Return why an envoy may not have this name, in words; empty if it may."""
    if name.lower() in RESERVED:
        return f"envoy name {name!r} is reserved; legal: any but {', '.join(RESERVED)}"
    return "" if is_legal_name(name) else illegal_name("envoy name", name)


def envoy_name(rank: int) -> str:
    """Return the usual name of the envoy of a rank, from 1: env_one to env_ten, env_11 and so on."""
    return f"env_{_NUMBERS[rank - 1] if rank <= len(_NUMBERS) else rank}"
