"""Outside text reaches no terminal and no log as it is."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from superb_node.command_line import SafeFormatter
from superb_node.text import printable, safe_lines


@given(st.text(), st.text())
def test_two_texts_never_look_alike_and_nothing_is_obeyed(one: str, other: str) -> None:
    assert printable(one).isprintable()
    assert (printable(one) == printable(other)) == (one == other)


@pytest.mark.parametrize("text", ["\x1b[2J\x1b[H", "\x1b]0;owned\x07", "\u202eleft", "a\rb", "\x9b2J"])
def test_what_a_terminal_obeys_is_an_escape(text: str) -> None:
    assert all(line.isprintable() for line in safe_lines(text).split("\n"))


def test_no_further_line_looks_like_one_of_ours() -> None:
    record = logging.LogRecord(
        "director", logging.INFO, "", 0, "%s failed: %s", ("one", "a\n12:00:00 INFO forged"), None
    )
    assert (
        SafeFormatter("%(levelname)s %(message)s").format(record)
        == "INFO one failed: a\n  12:00:00 INFO forged"
    )


def test_backslashes_of_paths_and_tracebacks_stay() -> None:
    assert safe_lines("C:\\data") == "C:\\data"
