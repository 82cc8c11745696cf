"""What a pickle names and says, read as data alone: it is taken apart, never loaded.

Director and envoy each have this module under a name of their own, because neither room imports the other.
"""

from __future__ import annotations

import pickletools
from collections.abc import Iterator

# Taking apart goes a byte code at a time, and everything that is shown is to be read by a person.
MOST_PICKLED_BYTES, MOST_WORDS, MOST_LETTERS = 2_000_000, 500, 200
_SUFFIXES = (".pkl", ".pickle", ".obj")
_PUTS = ("PUT", "BINPUT", "LONG_BINPUT")
_GETS = ("GET", "BINGET", "LONG_BINGET")


def is_pickle(name: str, content: bytes) -> bool:
    """Say whether a file is one that is unpickled, by its name or its beginning."""
    return name.endswith(_SUFFIXES) or (
        content[:1] == b"\x80" and content[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")
    )


def pickled_words(content: bytes) -> Iterator[str]:
    """Yield what a pickle imports and its strings, each once, in their order, then what is not shown.

    A function that travels by value is byte code in it, of which this shows the names and strings alone. The
    lines are not made safe for a terminal.
    """
    if len(content) > MOST_PICKLED_BYTES:
        yield f"NOT SHOWN: all of it, {len(content):,} bytes; up to {MOST_PICKLED_BYTES:,} are taken apart"
        return
    words: dict[str, None] = {}
    unseen = [0, 0]
    flaw = ""
    try:
        end = _take_apart(content, words, unseen)
        if end < len(content):
            flaw = f"{len(content) - end:,} bytes after its end"
    except Exception as error:  # a stranger's file; the parser raises whatever it comes upon
        flaw = f"the rest, as it is no sound pickle ({type(error).__name__}: {str(error)[:MOST_LETTERS]})"
    yield from list(words)[:MOST_WORDS]
    if len(words) > MOST_WORDS:
        yield f"NOT SHOWN: {len(words) - MOST_WORDS:,} more names and strings"
    if unseen[0]:
        yield f"NOT SHOWN: {unseen[0]:,} pieces of byte code or other bytes, {unseen[1]:,} bytes in all"
    if flaw:
        yield f"NOT SHOWN: {flaw}"


def _take_apart(content: bytes, words: dict[str, None], unseen: list[int]) -> int:
    """Note words, and how many pieces of bytes there are, of what size; returns where the pickle ends."""
    # Which strings came last, and which the pickle keeps to use again: two of them name an import.
    strings: list[str] = []
    memo: dict[int, str] = {}
    last, end = "", 0
    for opcode, argument, position in pickletools.genops(content):
        name, end = opcode.name, (position or 0) + 1
        if name in ("GLOBAL", "INST"):
            words[f"imports {_cut(str(argument).replace(' ', '.'))}"] = None
        elif name == "STACK_GLOBAL":
            words[f"imports {_cut('.'.join(strings[-2:]))}"] = None
        elif name == "MEMOIZE":
            memo[len(memo)] = last
        elif name in _PUTS:
            memo[int(argument or 0)] = last
        elif name in _GETS:
            strings.append(memo.get(int(argument or 0), "?"))
        elif isinstance(argument, str):
            strings.append(argument)
            words[f"string {_cut(argument)}"] = None
        elif isinstance(argument, bytes | bytearray):
            unseen[0] += 1
            unseen[1] += len(argument)
        # What is put into the memo is what was pushed just before.
        last = argument if isinstance(argument, str) else last if name in ("MEMOIZE", *_PUTS) else "?"
        del strings[:-2]
    return end


def _cut(text: str) -> str:
    """Shorten a long string, and say so."""
    if len(text) <= MOST_LETTERS:
        return repr(text)
    return f"{text[:MOST_LETTERS]!r} NOT SHOWN: {len(text) - MOST_LETTERS:,} more characters"
