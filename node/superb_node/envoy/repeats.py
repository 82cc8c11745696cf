"""How soon, and how often, an envoy takes part in one experiment again.

The director invites an envoy as long as there is work for it. So a worker that ends at once, whatever reason
it gives, would be started again at once, for ever.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from superb_node.approval.gate import Declined

QUICK_SECONDS = 10.0
"""A worker that ends by itself before this is quick."""
MAX_QUICK_ENDS = 10
"""In a row: then the envoy leaves the experiment for good."""
MAX_PAUSE_SECONDS = 32.0


class Repeats:
    """Counts the quick ends of the experiment that ran last; an envoy takes part in one at a time."""

    def __init__(self) -> None:
        self._experiment_id, self._quick_ends, self._ready_at = "", 0, 0.0

    def ended(self, experiment_id: str, began: float) -> None:
        """Take down that a worker ended by itself.

        Args:
            experiment_id: tells the submission.
            began: when it was started, by `time.monotonic`.
        """
        now = time.monotonic()
        quick = now - began < QUICK_SECONDS
        before = self._quick_ends if experiment_id == self._experiment_id else 0
        self._experiment_id, self._quick_ends = experiment_id, before + 1 if quick else 0
        self._ready_at = now + min(2.0**before, MAX_PAUSE_SECONDS) if quick else 0.0

    def wait(self, experiment_id: str, still_wanted: Callable[[], bool], ask_seconds: float) -> bool:
        """Pause after a quick end: a second, and twice as long after each further one.

        Args:
            experiment_id: of the experiment that is about to run.
            still_wanted: is asked again and again.
            ask_seconds: between two such questions.

        Returns:
            Whether it is still wanted.

        Raises:
            Declined: it ended too often.
        """
        if experiment_id != self._experiment_id:
            return True
        if self._quick_ends >= MAX_QUICK_ENDS:
            raise Declined(
                f"its process ended within {QUICK_SECONDS:.0f} s {MAX_QUICK_ENDS} times in a row; "
                "it does not run here again"
            )
        while (left := self._ready_at - time.monotonic()) > 0:
            time.sleep(min(left, ask_seconds))
            if not still_wanted():
                return False
        return True
