"""What an experiment prints reaches the log line by line, marked, harmless and bounded."""

from __future__ import annotations

import os
import signal
import time

import pytest

from superb_node.envoy import output
from superb_node.envoy.output import MAX_LINE, Output


def relayed(*parts: bytes) -> None:
    out = Output(output.MAX_OUTPUT)
    for part in parts:
        os.write(out.writer, part)
        assert out.relay()
    os.close(out.writer)
    assert not out.relay()
    out.close()


def test_lines_are_marked_and_joined_and_do_nothing_to_a_terminal(capsys: pytest.CaptureFixture) -> None:
    relayed(b"one\ntw", b"o\n\x1b]0;owned\x07\n12:00:00 INFO    ks-42 was approved\n\xff", b" end")
    assert capsys.readouterr().err.split("\n") == [
        "| one", "| two", r"| \x1b]0;owned\x07", "| 12:00:00 INFO    ks-42 was approved", "| \ufffd end", "",
    ]  # fmt: skip


def test_what_is_too_long_is_cut_and_what_is_too_much_is_dropped(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    relayed(b"x" * (MAX_LINE + 1) + b"\nshort\n")
    first, second, _ = capsys.readouterr().err.split("\n")
    assert (len(first), first[-2:], second) == (MAX_LINE + 4, " …", "| short")
    monkeypatch.setattr(output, "MAX_OUTPUT", 20)
    relayed(b"0123456789\n" * 10)
    assert capsys.readouterr().err.split("\n") == [
        "| 0123456789", "| 0123456789", "| … it prints more than 20 bytes; the rest is dropped", ""
    ]  # fmt: skip


def test_one_piece_is_passed_on_at_a_time(capsys: pytest.CaptureFixture) -> None:
    """While somebody prints faster than we read, the reader has other things to do."""
    out = Output(output.MAX_OUTPUT)
    if (flooder := os.fork()) == 0:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            os.write(out.writer, b"\n" * 65_536)
        os._exit(0)
    try:
        began = time.monotonic()
        assert out.relay()
        out.close()
        assert time.monotonic() - began < 10
    finally:
        os.kill(flooder, signal.SIGKILL)
        os.waitpid(flooder, 0)
