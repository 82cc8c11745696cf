"""Mistakes that end a program, or a call, with one line that says what to do."""

from __future__ import annotations

from superb_node.text import safe_line, safe_lines


class ConfigError(ValueError):
    """A setting cannot be used; the message names it and the legal values."""


class ToldError(RuntimeError):
    """An error that another machine may have told: its message holds nothing that a terminal would obey."""

    def __init__(self, message: object) -> None:
        super().__init__(safe_lines(str(message)))


class DataError(ValueError):
    """Something about the data or its settings is wrong; the message names it and the legal values.

    The message is one printable line even where a file name in it is neither.
    """

    def __init__(self, message: str) -> None:
        """Keep the message, with what cannot be printed escaped."""
        super().__init__(safe_line(message))


def require_one_of(name: str, value: object, legal: tuple[str, ...]) -> None:
    """Check a setting that takes one of a few words.

    Raises:
        DataError: `value` is none of `legal`.

    """
    if value not in legal:
        raise DataError(f"{name} is {value!r}; legal values: {', '.join(legal)}")
