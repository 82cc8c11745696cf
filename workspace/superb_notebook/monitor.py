"""Shows an experiment while it runs: a progress bar, a plot that grows, a printed line for each round."""

from __future__ import annotations

import html
import queue
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from IPython.display import Image, display

from superb_ks.schedule import TRAIN
from superb_notebook.experiment import ExperimentFailed
from superb_notebook.history import History, Record
from superb_notebook.plots import FAINT, FIGURE_PIXELS, INK, plot_learning, show

_TICK_SECONDS = 1.0
_REDRAW_SECONDS = 1.0
# Training takes nearly all of a round's time, so it counts for more than a task that only evaluates.
_TRAIN_WEIGHT, _OTHER_WEIGHT = 8, 1


def follow(records: Iterable[Record], rounds: int, envoys: Sequence[str], plot: bool = True) -> History:
    """Show an experiment until it ends and return all that it reported.

    Interrupting the cell stops the watching, not the experiment.

    Args:
        records: what `FederatedExperiment.records()` yields, while it yields it.
        rounds: training rounds.
        envoys: names of the envoys that take part.
        plot: draw loss and accuracy as well.

    Raises:
        ExperimentFailed: as `records` does, or the experiment was stopped before its best model was tested;
            what was reported until then stays in view.
    """
    monitor = Monitor(History(rounds, envoys), plot)
    try:
        for record in _with_ticks(records):
            if record is not None:
                monitor.take(record)
            monitor.refresh()
    except BaseException as error:
        monitor.close("failed" if isinstance(error, Exception) else "no longer watched")
        raise
    if monitor.history.test is None:
        monitor.close("stopped")
        raise ExperimentFailed("the experiment ended before its best model was tested: somebody stopped it")
    monitor.close("finished")
    return monitor.history


class Monitor:
    """Turns records into what is seen; `follow` drives it."""

    def __init__(self, history: History, plot: bool = True) -> None:
        """Show an empty bar and, if it is wanted, an empty plot."""
        self.history = history
        self._started = time.monotonic()
        self._announced: set[str] = set()
        self._points = self._drawn_points = 0
        self._drawn_at = self._started
        # Both are None outside of a notebook, where only the lines are printed.
        self._bar = display(self._progress_bar("waiting for the first report"), display_id=True)
        self._plot = display(self._curves(), display_id=True) if plot else None

    def take(self, record: Record) -> None:
        """Note one record; print what it completes."""
        self.history.add(record)
        if record["metric_name"] in ("accuracy", "loss"):
            self._points += 1
        for line in self._news():
            print(line, flush=True)

    def refresh(self) -> None:
        """Bring the bar up to date, and the plot if it has something new and was not drawn just now."""
        self._show_bar(self.activity())
        if self._drawn_points < self._points and time.monotonic() - self._drawn_at > _REDRAW_SECONDS:
            self._show_curves()

    def close(self, outcome: str) -> None:
        """Show the final state."""
        self._show_bar(outcome)
        self._show_curves()

    def progress(self) -> float:
        """Return the share of the experiment's work that is reported, in [0, 1]."""
        done = total = 0
        for number in range(self.history.schedule.total_rounds):
            for task in self.history.schedule.tasks(number):
                weight = _TRAIN_WEIGHT if task.name == TRAIN else _OTHER_WEIGHT
                total += weight * len(self.history.envoys)
                done += weight * self.history.reported(task.name, number)
        return done / total if total else 0.0

    def activity(self) -> str:
        """Return in words what the envoys are doing."""
        everybody = len(self.history.envoys)
        for number in range(self.history.schedule.total_rounds):
            for task in self.history.schedule.tasks(number):
                reported = self.history.reported(task.name, number)
                if reported < everybody:
                    return f"{_doing(task.name, number)}, {reported} of {everybody} envoys done"
        return "all tasks done"

    def _news(self) -> Iterator[str]:
        """Yield a line for everything that is complete and was not told yet."""
        history = self.history
        lines = {
            "start": (score := history.initial_validation) and f"Before training: validation accuracy {score}"
        }
        for result in history.results():
            loss = "–" if result.train_loss is None else f"{result.train_loss:.3f}"
            spent = "" if result.epsilon is None else f", epsilon {result.epsilon:.3g}"
            lines[f"round {result.round}"] = (
                f"Round {result.round} of {history.rounds}: training loss {loss}, "
                f"validation accuracy {result.validation}, {result.seconds:.1f} s{spent}"
            )
        lines["test"] = (
            score := history.test
        ) and f"Best model, of round {history.best_round}: test accuracy {score}"
        lines |= {f"event {number}": f"Note: {event}" for number, event in enumerate(history.events)}
        for key, line in lines.items():
            if line and key not in self._announced:
                self._announced.add(key)
                yield line

    def _show_bar(self, words: str) -> None:
        if self._bar is not None:
            self._bar.update(self._progress_bar(words))

    def _show_curves(self) -> None:
        if self._plot is not None:
            self._plot.update(self._curves())
        self._drawn_points, self._drawn_at = self._points, time.monotonic()

    def _progress_bar(self, words: str) -> _ProgressBar:
        return _ProgressBar(self.progress(), round(time.monotonic() - self._started), words)

    def _curves(self) -> Image:
        return show(plot_learning(self.history), "loss and validation accuracy over the training rounds")


@dataclass(frozen=True)
class _ProgressBar:
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


def _with_ticks(records: Iterable[Record]) -> Iterator[Record | None]:
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
    }.get(task, "testing the best model")
