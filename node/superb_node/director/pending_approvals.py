"""Experiments that the director has taken in and does not run yet: how many, and who waits for approval."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from superb_node.approval.gate import POLL_SECONDS, Declined, Gate
from superb_node.approval.store import Submission
from superb_node.director import experiment_store as store
from superb_node.director.experiment_store import ExperimentStore
from superb_node.director.limits import Busy

logger = logging.getLogger("director")

MAX_PENDING_PER_USER, MAX_PENDING = 8, 32
"""Experiments that arrive, or wait for approval or their turn. Each takes memory, and its model disk."""


@dataclass
class _Pending:
    task: asyncio.Task[None]
    notice: dict[str, Any]
    author: str


class PendingApprovals:
    """What waits, each in a task of its own: others run meanwhile.

    Args:
        gate: of the director's owner.
        experiments: where a rejection is noted.
    """

    def __init__(self, gate: Gate, experiments: ExperimentStore) -> None:
        self._gate = gate
        self._experiments = experiments
        self._pending: dict[str, _Pending] = {}
        self._arriving: list[str] = []  # their authors

    @contextmanager
    def place(self, author: str, in_queue: Sequence[str]) -> Iterator[None]:
        """Hold a place for one more experiment of `author` inside the context, while its model arrives.

        Args:
            author: who submits it.
            in_queue: the authors of the experiments that wait for their turn.

        Raises:
            Busy: as many wait as may.
        """
        waiting = [*self._arriving, *(each.author for each in self._pending.values()), *in_queue]
        own = waiting.count(author)
        if own >= MAX_PENDING_PER_USER or len(waiting) >= MAX_PENDING:
            raise Busy(
                f"{own} experiments of {author} wait for approval or for their turn, {len(waiting)} in all; "
                f"legal: {MAX_PENDING_PER_USER} of a user and {MAX_PENDING} in all; stop one, or wait"
            )
        self._arriving.append(author)
        try:
            yield
        finally:
            self._arriving.remove(author)

    def add(self, submission: Submission, text: bytes, submit: Callable[[], None]) -> None:
        """Call `submit` once the experiment is approved."""
        name = submission.name
        notice = self._experiments.own_record(name, "waiting", f"{name}, digest {submission.digest}")
        self._pending[name] = _Pending(
            asyncio.create_task(self._wait(submission, text, submit)), notice, submission.author
        )

    def notice(self, name: str) -> dict[str, Any] | None:
        """Return the record that says that an experiment waits, None for one that does not.

        It is not kept with the others: the aggregator writes its round's records again from the start.
        """
        pending = self._pending.get(name)
        return pending.notice if pending else None

    def cancel(self, name: str) -> bool:
        """Let an experiment wait no longer; returns whether it did."""
        pending = self._pending.pop(name, None)
        return pending is not None and pending.task.cancel()

    async def _wait(self, submission: Submission, text: bytes, submit: Callable[[], None]) -> None:
        name = submission.name
        try:
            with self._gate.pending(submission, text) as approved:
                await asyncio.to_thread(self._gate.show, submission)  # others are served meanwhile
                while not approved():
                    await asyncio.sleep(POLL_SECONDS)
            submit()
        except Declined as declined:
            logger.warning("Experiment %s: %s", name, declined)
            self._reject(name, str(declined))
        except Exception as error:  # such as a full disk: nobody else waits for this task
            logger.exception("Experiment %s cannot wait for its approval", name)
            self._reject(name, f"it cannot wait for its approval: {error}")
        finally:  # also when its author stops it, or the director stops
            self._pending.pop(name, None)

    def _reject(self, name: str, reason: str) -> None:
        self._experiments.append(name, "failure", reason)
        self._experiments.update(name, status=store.REJECTED)
