"""Settings that check themselves when they are made, and turn into plain JSON types and back.

Imports nothing but the standard library: the director reads settings without PyTorch, the demo without numpy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar, NamedTuple, TypeVar

T = TypeVar("T", bound="Checked")


class Range(NamedTuple):
    """The legal values of a field: how to tell them, and how to name them in an error."""

    contains: Callable[[Any], bool]
    words: str


def is_int(value: Any, low: int, high: float = math.inf) -> bool:
    """Tell whether a value is a whole number from `low` to `high`; True and False are not."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def is_real(value: Any) -> bool:
    """Tell whether a value is a number that a float can hold; True and False are not."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number of some hundred digits
        return False


COUNT = Range(lambda value: is_int(value, 1), "a whole number from 1")
ABOVE_0 = Range(lambda value: is_real(value) and value > 0, "above 0")
FROM_0 = Range(lambda value: is_real(value) and value >= 0, "from 0")
FRACTION = Range(lambda value: is_real(value) and 0 < value <= 1, "in (0, 1]")
SHARE = Range(lambda value: is_real(value) and 0 <= value < 1, "in [0, 1)")
BELOW_HALF = Range(lambda value: is_real(value) and 0 <= value < 0.5, "in [0, 0.5)")
TEXT = Range(lambda value: isinstance(value, str) and value.strip() != "", "text that is not empty")
TRUE_OR_FALSE = Range(lambda value: isinstance(value, bool), "True or False")


def among(*values: str) -> Range:
    """Return the range of a few words."""
    return Range(lambda value: value in values, " or ".join(map(repr, values)))


def or_none(legal: Range) -> Range:
    """Return a range with None in it."""
    return Range(lambda value: value is None or legal.contains(value), f"None or {legal.words}")


def checked(legal: Range, default: Any = MISSING) -> Any:
    """Declare a field of a `Checked` class with its legal values and its default."""
    return field(default=default, metadata={"legal": legal})


def nested(kinds: Mapping[str, type[Checked]], default: Any, optional: bool = False) -> Any:
    """Declare a field that holds other settings.

    Args:
        kinds: the classes that are legal, by the name that each has in JSON; looked at when it is needed, so
            that it may grow.
        default: of the field.
        optional: None is legal as well.
    """
    return field(default=default, metadata={"kinds": kinds, "optional": optional})


@dataclass(frozen=True)
class Checked:
    """Base of all settings: a frozen dataclass whose fields are declared by `checked` and `nested`.

    Attributes:
        name: says in JSON which class is meant, where several are legal; empty where there is one.

    Raises:
        ValueError: a value is illegal; the message names class, field, value and what is legal.
    """

    name: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for item in fields(self):
            legal = item.metadata.get("legal") or _instances(item.metadata)
            self._require(legal.contains(getattr(self, item.name)), item.name, legal.words)

    def _require(self, ok: bool, field_name: str, legal: str) -> None:
        if not ok:
            value = getattr(self, field_name)
            raise ValueError(f"{type(self).__name__}.{field_name} is {value!r}; legal: {legal}")

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as JSON knows them: dictionaries, lists, text, numbers, booleans and None."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        plain = {key: _plain(value) for key, value in values.items()}
        return {"name": self.name, **plain} if self.name else plain

    @classmethod
    def from_dict(cls: type[T], values: Mapping[str, Any]) -> T:
        """Make settings of what `to_dict` returned; a field that is missing has its default.

        Raises:
            ValueError: there is no such field, one without a default is missing, or a value is illegal.
        """
        declared = {item.name: item for item in fields(cls)}
        given = {key: value for key, value in values.items() if not (key == "name" and cls.name)}
        required = [name for name, item in declared.items() if item.default is MISSING]
        for name in (*given, *required):
            if name not in declared or name not in given:
                what = "misses" if name in declared else "has no field"
                legal = ", ".join(declared) or "none"
                raise ValueError(f"{cls.__name__} {what} {name!r}; its fields are {legal}")
        for name, value in given.items():
            if "kinds" in declared[name].metadata and isinstance(value, Mapping):
                given[name] = from_name(declared[name].metadata["kinds"], value, f"{cls.__name__}.{name}")
        return cls(**given)


def from_name(kinds: Mapping[str, type[T]], values: Mapping[str, Any], what: str) -> T:
    """Make the settings whose class is named by `values["name"]`, or has no name, from the other values.

    Args:
        kinds: the legal classes by name.
        values: what `Checked.to_dict` returned.
        what: is called so in an error.

    Raises:
        ValueError: there is no class of that name, or a value is illegal.
    """
    name = values.get("name", "")
    if not isinstance(name, str) or name not in kinds:
        raise ValueError(f"{what} is {name!r}; legal: {' or '.join(map(repr, kinds))}")
    return kinds[name].from_dict(values)


def changes(settings: Checked) -> str:
    """Return settings as a call that makes them, without what is as by default."""
    differing = [
        f"{item.name}={value!r}"
        for item in fields(settings)
        if (value := getattr(settings, item.name)) != item.default
    ]
    return f"{type(settings).__name__}({', '.join(differing)})"


def _plain(value: Any) -> Any:
    if isinstance(value, Checked):
        return value.to_dict()
    return list(value) if isinstance(value, tuple) else value


def _instances(metadata: Mapping[str, Any]) -> Range:
    kinds, optional = metadata["kinds"].values(), metadata["optional"]
    words = " or ".join((["None"] if optional else []) + [f"{kind.__name__}(...)" for kind in kinds])
    return Range(
        lambda value: isinstance(value, tuple(kinds)) or (optional and value is None),
        words,
    )
