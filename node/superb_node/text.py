"""Text from outside, on its way to a terminal, a log or a page."""

from __future__ import annotations

MAX_NAME_LETTERS = 100
"""Of a name from outside that a message quotes; legal names are shorter."""


def printable(text: str) -> str:
    """Show what a terminal would obey, such as colours and changes of direction, as escapes.

    A backslash is an escape as well, so that no text looks like another one.
    """
    return "".join(c if c.isprintable() and c != "\\" else c.encode("unicode_escape").decode() for c in text)


def safe_lines(text: str) -> str:
    """Show a text of several lines, without what a terminal would obey, and indented from the second line on.

    So no line of it can pass for one that this program wrote.
    """
    lines = ("".join(c if c.isprintable() else printable(c) for c in line) for line in text.split("\n"))
    return "\n  ".join(lines)


def safe_line(text: str) -> str:
    """Show a text in one line, without what a terminal would obey."""
    return safe_lines(text.replace("\n", "\\n"))


def shortened(text: str, characters: int) -> str:
    """Return a text's first `characters`, and after them how many were left out, if any were."""
    left_out = len(text) - characters
    return text if left_out <= 0 else f"{text[:characters]} ... {left_out:,} characters left out"


def quoted(name: str) -> str:
    """Return a name from outside in quotes, as a message shows it: an illegal one may have megabytes."""
    return repr(name[:MAX_NAME_LETTERS]) + "..." * (len(name) > MAX_NAME_LETTERS)
