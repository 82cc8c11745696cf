"""How far an experiment is, in numbers, in words and as a bar."""

from __future__ import annotations

import html
import queue
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from superb_ks.schedule import PERSONALISE, TRAIN
from superb_notebook.history import History, Record
from superb_notebook.plots import FAINT, FIGURE_PIXELS, INK

_TICK_SECONDS = 1.0
# Training takes nearly all of a round's time, so it counts for more than a task that only evaluates.
_TRAIN_WEIGHT, _OTHER_WEIGHT = 8, 1


def progress(history: History) -> float:
    """Return the share of the experiment's work that is reported, in [0, 1]."""
    done = total = 0
    for number in range(history.schedule.total_rounds):
        for task in history.schedule.tasks(number):
            weight = _TRAIN_WEIGHT if task.name in (TRAIN, PERSONALISE) else _OTHER_WEIGHT
            total += weight * len(history.envoys)
            done += weight * history.reported(task.name, number)
    return done / total if total else 0.0


def activity(history: History) -> str:
    """Return in words what the envoys are doing, or behind whom the experiment waits."""
    if history.waits_behind:
        return f"waits behind {history.waits_behind}"
    everybody = len(history.envoys)
    for number in range(history.schedule.total_rounds):
        for task in history.schedule.tasks(number):
            reported = history.reported(task.name, number)
            if reported < everybody:
                return f"{_doing(task.name, number)}, {reported} of {everybody} envoys done"
    return "all tasks done"


@dataclass(frozen=True)
class ProgressBar:
    """A bar for notebooks with a line of text below it; the line alone elsewhere."""

    share: float
    seconds: int
    words: str

    def __repr__(self) -> str:
        minutes, seconds = divmod(self.seconds, 60)
        return f"{self.share:.0%} · {minutes}:{seconds:02d} min · {self.words}"

    def _repr_html_(self) -> str:
        return (
            f'<div style="max-width:{FIGURE_PIXELS}px;height:10px;border-radius:5px;background:{FAINT};'
            f'overflow:hidden">'
            f'<div style="width:{self.share:.1%};height:100%;background:{INK}"></div></div>'
            f'<div style="margin-top:4px">{html.escape(repr(self))}</div>'
        )


def with_ticks(records: Iterable[Record]) -> Iterator[Record | None]:
    """Yield the records, and None whenever a second has passed without one, so that the clock goes on.

    Raises:
        Exception: whatever `records` raises.
    """
    arrived: queue.SimpleQueue[Record | BaseException | None] = queue.SimpleQueue()

    def pump() -> None:
        try:
            for record in records:
                arrived.put(record)
            arrived.put(None)
        except BaseException as error:  # handed to the thread that reads
            arrived.put(error)

    threading.Thread(target=pump, name="records", daemon=True).start()
    while True:
        try:
            item = arrived.get(timeout=_TICK_SECONDS)
        except queue.Empty:
            yield None
            continue
        if item is None:
            return
        if isinstance(item, BaseException):
            raise item
        yield item


def _doing(task: str, openfl_round: int) -> str:
    """Name a task of OpenFL's round (from 0) for people, who count training rounds from 1."""
    return {
        "train": f"round {openfl_round + 1}: training",
        "validate": f"validating the model of round {openfl_round}"
        if openfl_round
        else "validating the initial model",
        "test_initial": "testing the initial model",
        "personalise": "training the best model further, each for itself",
    }.get(task, "testing the best model")
