"""Outside text reaches no terminal and no log as it is."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from superb_node.command_line import MAX_LOGGED_CHARACTERS, SafeFormatter
from superb_node.errors import DataError
from superb_node.names import illegal_name
from superb_node.text import printable, quoted, safe_lines


@given(st.text(), st.text())
def test_two_texts_never_look_alike_and_nothing_is_obeyed(one: str, other: str) -> None:
    assert printable(one).isprintable()
    assert (printable(one) == printable(other)) == (one == other)


@pytest.mark.parametrize("text", ["\x1b[2J\x1b[H", "\x1b]0;owned\x07", "\u202eleft", "a\rb", "\x9b2J"])
def test_what_a_terminal_obeys_is_an_escape(text: str) -> None:
    assert all(line.isprintable() for line in safe_lines(text).split("\n"))
    assert str(DataError(f"{text}\n{text}")).isprintable()


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


@pytest.mark.parametrize("letter", ["x", "\x1b", "\n"])
def test_no_line_of_the_log_is_longer_than_so_many_characters_and_the_rest_is_counted(letter: str) -> None:
    record = logging.LogRecord("director", logging.INFO, "", 0, "it says %s", (100_000 * letter,), None)
    line = SafeFormatter("%(message)s").format(record)
    assert line.startswith("it says ")
    assert line.endswith(" characters left out")
    assert len(line) < MAX_LOGGED_CHARACTERS + 50
    left_out = int(line.rpartition("... ")[2].split()[0].replace(",", ""))
    assert left_out == len(safe_lines("it says " + 100_000 * letter)) - MAX_LOGGED_CHARACTERS


def test_a_long_name_is_cut_where_a_message_quotes_it() -> None:
    assert quoted("env_one") == "'env_one'"
    assert quoted(4_000_000 * "x") == f"'{100 * 'x'}'..."
    assert len(illegal_name("envoy name", 4_000_000 * "x")) < 250
