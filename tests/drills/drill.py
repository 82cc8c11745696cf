"""What a drill is: a function that does something bad to a running federation and checks what follows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.support.lab import Lab


@dataclass(frozen=True)
class Drill:
    """One row of the table.

    Attributes:
        name: as the table shows it.
        run: takes a healthy federation, returns the outcome in a few words, raises AssertionError if a
            promise is broken. It may leave services dead.
        quick: also among the tests.
    """

    name: str
    run: Callable[[Lab], str]
    quick: bool


DRILLS: list[Drill] = []


def drill(name: str, *, quick: bool = False) -> Callable[[Callable[[Lab], str]], Callable[[Lab], str]]:
    """Add a function to the drills."""

    def add(function: Callable[[Lab], str]) -> Callable[[Lab], str]:
        DRILLS.append(Drill(name, function, quick))
        return function

    return add
