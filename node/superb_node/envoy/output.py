"""What an experiment prints, on its way to the envoy's log: line by line, harmless, and not without end."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from superb_node.text import printable

MAX_LINE, MAX_OUTPUT = 2_000, 1_000_000
"""Characters of a line, and bytes of an experiment, that reach the log."""
_PIECE = 65_536
_MARK = "| "
"""Begins each line: an experiment cannot write lines that look like the envoy's own."""


class Output:
    """The reading end of a pipe that stands in the place of a worker's output and error output.

    So a worker holds neither the owner's terminal nor the log itself, which it could read, set up or empty.

    Args:
        left: how many bytes the experiment may still print.
    """

    def __init__(self, left: int) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        self.left = left
        self._line = b""

    def take_over(self) -> None:
        """In a worker: let everything that it prints go here."""
        os.close(self.reader)
        for stream in (1, 2):
            os.dup2(self.writer, stream)
        os.close(self.writer)

    def relay(self) -> bool:
        """Pass on one piece of what has come; returns whether more may come.

        One piece only: whoever prints without end would otherwise keep us from everything else.
        """
        try:
            data = os.read(self.reader, _PIECE)
        except BlockingIOError:
            return True
        self._take(data)
        return bool(data)

    def close(self) -> None:
        """Pass on what is left; more is not wanted."""
        with suppress(BlockingIOError):
            for _ in range(MAX_OUTPUT // _PIECE + 1):
                if not (data := os.read(self.reader, _PIECE)):
                    break
                self._take(data)
        if self._line:
            self._print(self._line)
        os.close(self.reader)

    def _take(self, data: bytes) -> None:
        if self.left <= 0:
            return
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            self._print(line)
        if len(self._line) > MAX_LINE:  # the rest of it begins a line of its own
            self._print(self._line)
            self._line = b""

    def _print(self, line: bytes) -> None:
        if self.left > 0:
            text = printable(line.decode(errors="replace"))
            shown = text if len(text) <= MAX_LINE else f"{text[:MAX_LINE]} …"
            print(f"{_MARK}{shown}", file=sys.stderr, flush=True)
            self.left -= len(line) + 1
            if self.left <= 0:
                print(
                    f"{_MARK}… it prints more than {MAX_OUTPUT:,} bytes; the rest is dropped", file=sys.stderr
                )
