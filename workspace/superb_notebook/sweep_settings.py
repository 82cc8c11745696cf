"""All combinations of the values that a sweep is given, as settings that are checked before anything runs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from superb_ks.checked import Checked, from_name
from superb_ks.recipe import Recipe
from superb_ks.settings import NOTEBOOKS_OWN, Settings

_PARTS = {item.name: item.metadata["kinds"] for item in fields(Settings) if "kinds" in item.metadata}
_OWN = [item.name for item in fields(Settings) if item.name not in NOTEBOOKS_OWN]
_OF_THE_RECIPE = [item.name for item in fields(Recipe)]


def combinations(
    settings: Settings, values: Mapping[str, Sequence[Any]]
) -> list[tuple[dict[str, Any], Settings]]:
    """Return every combination, the last name varying fastest, with the settings that it makes.

    Args:
        settings: what all have in common.
        values: lists of values by name: of a field of `Settings`, of `Recipe`, or of another part with two
            underscores, such as `strategy__mu`. A strategy or a tuning may be given by its name.

    Raises:
        ValueError: there is no such setting, or a value or a combination is illegal; one line for each.
    """
    faults = [fault for name, choices in values.items() for fault in _faults(name, choices)]
    if not values:
        faults = ["a sweep needs a setting with a list of values, such as learning_rate=[1e-3, 3e-3]"]
    if faults:
        raise ValueError("\n".join(faults))
    made = []
    for chosen in itertools.product(*(map(_plain, choices) for choices in values.values())):
        combination = dict(zip(values, chosen, strict=True))
        try:
            made.append((combination, _with(settings, combination)))
        except ValueError as error:
            faults.append(str(error))
    if faults:
        raise ValueError("\n".join(dict.fromkeys(faults)))
    return made


def in_words(value: Any) -> str:
    """Return a value of a setting as a table shows it; a strategy or tuning with its defaults by its name."""
    if isinstance(value, Checked) and value.name and value == type(value)():
        return value.name
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _plain(value: Any) -> Any:
    """Return a number of numpy's, such as one of `list(np.logspace(-4, -2, 3))`, as Python's."""
    return value.item() if isinstance(value, np.generic) else value


def _faults(name: str, choices: object) -> list[str]:
    group, _, inner = _place(name).partition("__")
    known = {item.name for kind in _PARTS.get(group, {}).values() for item in fields(kind)}
    if group not in _OWN or (inner and inner not in known):
        legal = (
            f"{', '.join(_OWN)}; {', '.join(_OF_THE_RECIPE)}; a field of another part, such as strategy__mu"
        )
        return [f"there is no setting {name!r} to vary; legal: {legal}"]
    if not isinstance(choices, list | tuple) or not choices:
        return [f"{name} is {choices!r}; legal: a list of values"]
    words = [in_words(value) for value in choices]
    return [f"{name} has {word} twice" for word in dict.fromkeys(words) if words.count(word) > 1]


def _place(name: str) -> str:
    """Return where a setting is: `learning_rate` is the recipe's."""
    return f"recipe__{name}" if name not in _OWN and name in _OF_THE_RECIPE else name


def _with(settings: Settings, combination: Mapping[str, Any]) -> Settings:
    """Put a combination over settings; what is changed in a part is put over the part that is chosen.

    Raises:
        ValueError: the combination is illegal.
    """
    changes: dict[str, Any] = {}
    inside: dict[str, dict[str, Any]] = {}
    for name, value in combination.items():
        group, _, inner = _place(name).partition("__")
        if inner:
            inside.setdefault(group, {})[inner] = value
        elif isinstance(value, str) and group in ("strategy", "tuning"):
            changes[group] = from_name(_PARTS[group], {"name": value}, f"Settings.{group}")
        else:
            changes[group] = value
    for group, values in inside.items():
        part = changes.get(group, getattr(settings, group))
        known = [] if part is None else [item.name for item in fields(part)]
        for inner in values:
            if inner not in known:
                raise ValueError(f"{group}__{inner} cannot be varied with {group} {in_words(part)}")
        changes[group] = replace(part, **values)
    return replace(settings, **changes)
