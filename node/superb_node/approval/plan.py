"""What an experiment's plan may name: classes of its own package and of OpenFL, and no file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_PACKAGES = ("superb_ks.", "openfl.")
# Under these keys OpenFL finds the names of classes that it imports and calls.
_CLASSES = ("template", "framework_adapters", "serializer_plugin")
_FILE = "defaults"
"""Under this key OpenFL finds the name of a further YAML file, which may be any on this machine."""


def fault_of_plan(content: bytes) -> str:
    """Return what is wrong with a plan, in words; empty if it is sound."""
    import yaml  # here, as `review.sh list` needs nothing but Python

    try:
        plan = yaml.safe_load(content)
        entries = list(_entries(plan, set()))
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        return f"it is not plain YAML: {type(error).__name__}"
    if not isinstance(plan, dict):
        return "it has no sections"
    for key, value in entries:
        if key == _FILE and value is not None:
            return f"it reads the file {str(value)[:200]!r}"
        if key in _CLASSES and isinstance(value, str) and not value.startswith(_PACKAGES):
            return f"it names {value[:200]!r}; legal: classes of superb_ks and of openfl"
    return ""


def _entries(value: Any, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Yield all keys and values, at any depth; what an alias repeats is looked at once."""
    if id(value) in seen or not isinstance(value, dict | list):
        return
    seen.add(id(value))
    for key, inner in value.items() if isinstance(value, dict) else ((None, each) for each in value):
        yield str(key), inner
        yield from _entries(inner, seen)
