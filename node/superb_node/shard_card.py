"""The shard card: what an envoy says of its clips, and the one schema that all cards keep to.

The envoy reads its own card by it when it starts, the director when the envoy registers, the notebook when it
lists who is online. A card is a stranger's text until it is read here: afterwards every text in it is short
and printable, every number is finite, and nothing is in it that the schema does not name.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

SPLITS = ("train", "val", "test")
MAX_BYTES = 64 * 2**10
"""Of a card, and of all that an envoy says when it registers; the tutorial's card has about 1,000."""
MAX_CLASSES, MAX_LETTERS, MAX_NUMBER = 100, 60, 10**9
"""Classes; letters of a text, such as the name of a class; clips, speakers or seconds."""


class NoCard(ValueError):
    """A description that is no shard card; the message is one printable line that says why."""


class _Field(NamedTuple):
    """A field that a card may have: what it is where the card does not say, and how its legal values look."""

    default: Any
    is_legal: Callable[[Any], bool]
    words: str


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_LETTERS and value.isprintable()


def _is_number(value: object) -> bool:
    # NaN and infinities are in no range; True and False are whole numbers to Python.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_NUMBER


def _is_count(value: object) -> bool:
    return isinstance(value, int) and _is_number(value) and value >= 0


def _is_share(value: object) -> bool:
    return value is None or (_is_count(value) and value != 0)


def _is_scenario(value: object) -> bool:
    """Whether it is flat, and as short as the one in `envoy_config.yaml`."""
    if not isinstance(value, dict) or len(value) > 10:
        return False
    return all(map(_is_text, value)) and all(
        each is None or _is_number(each) or _is_text(each) for each in value.values()
    )


_TEXT = f"a text of 1 to {MAX_LETTERS} printable letters"
_SHARE = f"null, or a whole number from 1 to {MAX_NUMBER:,}"
_COUNT = f"a whole number from 0 to {MAX_NUMBER:,}"
_FIELDS = {
    "source": _Field("unknown", _is_text, _TEXT),
    "partition": _Field("unknown", _is_text, _TEXT),
    "rank": _Field(None, _is_share, _SHARE),
    "world_size": _Field(None, _is_share, _SHARE),
    "skipped": _Field(0, _is_count, _COUNT),
    "scenario": _Field({}, _is_scenario, "up to ten texts and numbers by name"),
}
_PER_SPLIT = {
    "speakers": _Field(0, _is_count, _COUNT),
    "seconds": _Field(
        0, lambda value: _is_number(value) and value >= 0, f"a number from 0 to {MAX_NUMBER:,}"
    ),
}


def read_card(text: object, *, trains: bool = True) -> dict[str, Any]:
    """Read what a shard descriptor returns as `dataset_description`.

    Args:
        text: JSON.
        trains: whether it needs training clips; one of many simulated clients may only validate or test.

    Returns:
        every field of the schema (see docs/design.md): those that the card lacks have their default, and
        what else the card says is left out. `clips` counts all classes in all splits.

    Raises:
        NoCard: it is no JSON object with the classes and numbers of clips of a shard, or a field is illegal.
    """
    card = _json_object(text)
    labels = card.get("labels")
    if (
        not isinstance(labels, list)
        or not 1 <= len(labels) <= MAX_CLASSES
        or not all(map(_is_text, labels))
        or len(set(labels)) < len(labels)
    ):
        names = f"1 to {MAX_CLASSES} different names, each {_TEXT}"
        raise NoCard(f"its `labels` is {_shown(labels)}; legal: {names}")
    clips = {split: _clips(card.get("clips"), split, labels) for split in SPLITS}
    if trains and not sum(clips["train"].values()):
        raise NoCard("it has no training clips")
    return {
        "labels": labels,
        "clips": clips,
        **{name: _value(card, name, field, f"`{name}`") for name, field in _FIELDS.items()},
        **{name: _of_splits(card.get(name, {}), name, field) for name, field in _PER_SPLIT.items()},
    }


def clips_by_split(card: dict[str, Any]) -> dict[str, int]:
    """Return how many clips a card counts in each split."""
    return {split: sum(card["clips"][split].values()) for split in SPLITS}


def _json_object(text: object) -> dict[str, Any]:
    if not isinstance(text, str):
        raise NoCard(f"it is {_shown(text)}, no text")
    if len(text) > MAX_BYTES:
        raise NoCard(f"it has {len(text):,} characters, and {MAX_BYTES:,} are legal")
    try:
        card = json.loads(text)
    except (ValueError, RecursionError):  # also a number of thousands of digits
        raise NoCard(f"{_shown(text)} is not JSON") from None
    if not isinstance(card, dict):
        raise NoCard("it is not a JSON object")
    return card


def _clips(given: object, split: str, labels: list[str]) -> dict[str, int]:
    counts = given.get(split) if isinstance(given, dict) else None
    if not isinstance(counts, dict) or not all(map(_is_count, counts.values())):
        raise NoCard(f"its `clips` has no numbers by class for {split}; legal: for each class {_COUNT}")
    if unknown := [name for name in counts if name not in labels]:
        raise NoCard(f"its `clips` for {split} counts {_shown(unknown[0])}, which is none of its `labels`")
    return {label: counts.get(label, 0) for label in labels}


def _of_splits(given: object, name: str, field: _Field) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise NoCard(f"its `{name}` is {_shown(given)}; legal: for train, val and test {field.words}")
    return {split: _value(given, split, field, f"`{name}` for {split}") for split in SPLITS}


def _value(given: dict[str, Any], name: str, field: _Field, what: str) -> Any:
    value = given.get(name, field.default)
    if not field.is_legal(value):
        raise NoCard(f"its {what} is {_shown(value)}; legal: {field.words}")
    return value


def _shown(value: object) -> str:
    """Show the beginning of a value in printable letters; a number of any size is not written out."""
    if isinstance(value, int) and abs(value) > MAX_NUMBER:
        return "a larger number"
    return ascii(value)[:MAX_LETTERS] if isinstance(value, str | int | float | None) else type(value).__name__
