"""Text from outside, on its way to a terminal, a log or a page."""

from __future__ import annotations


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
