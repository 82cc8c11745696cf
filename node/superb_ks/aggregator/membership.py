"""Who takes part in a round: present, away, or gone."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable


class Membership:
    """The collaborators of an experiment, and which of them the current round waits for.

    A collaborator that misses a round (too slow, or silent) is *away*: rounds go on without it until it
    asks for tasks again; then it takes part from the next round on. One that failed is *gone* for good.

    Args:
        names: everybody who was enrolled.
        at_least: how many a round needs.
    """

    def __init__(self, names: Iterable[str], at_least: int = 1) -> None:
        self.enrolled = sorted(names)
        self.at_least = at_least
        self.present = set(self.enrolled)
        self.cut_off: set[str] = set()
        """Those that the rounds left behind at work: nobody waits for what they are doing."""
        self._at_work: set[str] = set()
        self._in_a_row: Counter[str] = Counter()  # how often each was left behind at work
        self._sits_out: Counter[str] = Counter()  # how many rounds more each does
        self._heard_at: dict[str, float] = {}
        self._returning: set[str] = set()
        self._gone: set[str] = set()

    @property
    def enough(self) -> bool:
        """Say whether enough collaborators are left for a round."""
        return len(self.present) >= self.at_least

    def leave(self, name: str, *, for_good: bool = False) -> bool:
        """Go on without `name`; returns whether it was present."""
        was_present = name in self.present
        self.present.discard(name)
        self._returning.discard(name)
        if for_good:
            self._gone.add(name)
        if was_present and name in self._at_work:
            self.cut_off.add(name)
            self._in_a_row[name] += 1
            self._sits_out[name] = 2 ** (self._in_a_row[name] - 1) - 1
        return was_present

    def invited(self, name: str) -> None:
        """Note that `name` is about to begin, so that nothing is at work there."""
        self._at_work.discard(name)
        self.cut_off.discard(name)

    def heard_from(self, name: str) -> None:
        """Note that `name` asks for tasks; if it was away, it takes part from the next round on."""
        self._heard_at[name] = time.monotonic()
        self._at_work.add(name)
        self.cut_off.discard(name)
        if name in self.enrolled and name not in self.present and name not in self._gone:
            self._returning.add(name)

    def seconds_since_heard(self, name: str) -> float:
        """Return how long ago `name` asked for tasks; infinity if it never did."""
        return time.monotonic() - self._heard_at.get(name, -math.inf)

    def start_round(self) -> list[str]:
        """Take in those who came back; returns their names.

        Who is left behind again and again sits out 1, 3, 7, … rounds, so that it costs the others their time
        limit ever more rarely.
        """
        for name in self.present:  # they completed the round before
            self._in_a_row.pop(name, None)
        back = sorted(name for name in self._returning if not self._sits_out[name])
        self._sits_out = +(self._sits_out - Counter(dict.fromkeys(self._sits_out, 1)))
        self.present.update(back)
        self._returning.difference_update(back)
        return back
