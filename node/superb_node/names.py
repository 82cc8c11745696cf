"""Legal names of experiments, envoys and users: names become folders, and come from outside."""

from __future__ import annotations

import re

NAME_PATTERN = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}")


def is_legal_name(name: str) -> bool:
    """Return whether an experiment, an envoy or a user may have this name."""
    return NAME_PATTERN.fullmatch(name) is not None


def illegal_name(what: str, name: str) -> str:
    """Return the message for an illegal name.

    Args:
        what: has the name, such as "experiment name".
        name: the illegal one.
    """
    return f"{what} {name!r}: legal are a letter, then up to 62 letters, digits, '-' or '_'"
