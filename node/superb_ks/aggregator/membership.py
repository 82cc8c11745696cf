"""Who takes part in a round: present, away, or gone."""

from __future__ import annotations

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
        return was_present

    def heard_from(self, name: str) -> None:
        """Note that `name` asks for tasks; if it was away, it takes part from the next round on."""
        if name in self.enrolled and name not in self.present and name not in self._gone:
            self._returning.add(name)

    def start_round(self) -> list[str]:
        """Take in those who came back; returns their names."""
        back = sorted(self._returning)
        self.present |= self._returning
        self._returning.clear()
        return back
