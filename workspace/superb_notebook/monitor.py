"""Shows an experiment while it runs: a progress bar, a plot that grows, a printed line for each round."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from IPython.display import Image, display

from superb_notebook.experiment import ExperimentFailed, Records
from superb_notebook.history import History, Record
from superb_notebook.personal import personal_in_words
from superb_notebook.plots import plot_learning, show
from superb_notebook.progress import ProgressBar, activity, progress, with_ticks
from superb_notebook.tracking.writing import Tracking

_REFRESH_SECONDS, _REDRAW_SECONDS = 0.1, 1.0


def follow(
    records: Iterable[Record],
    rounds: int,
    envoys: Sequence[str],
    plot: bool = True,
    track: str | None = None,
    run_dir: Path | str | None = None,
) -> History:
    """Show an experiment until it ends and return all that it reported.

    Interrupting the cell stops the watching, not the experiment.

    Args:
        records: what `FederatedExperiment.records()` yields, while it yields it.
        rounds: training rounds.
        envoys: names of the envoys that take part.
        plot: draw loss and accuracy as well.
        track: where the records are written too, "tensorboard", "mlflow" or "wandb", or several with commas;
            None: what the variable SUPERB_TRACK says, nowhere without it.
        run_dir: folder for the files of `track` (see `superb_notebook.tracking.writing.Tracking`).

    Raises:
        ExperimentFailed: as `records` does, or the experiment was stopped before its best model was tested;
            what was reported until then stays in view.
        TrackingError: `track` names no backend, or one that cannot begin.
    """
    tracking = Tracking(records, track, run_dir)
    experiment = records.experiment if isinstance(records, Records) else None
    settings = experiment.settings if experiment else None
    history = History(rounds, envoys, settings is not None and settings.personalise)
    history.experiment = experiment.experiment_name if experiment else ""
    monitor = Monitor(history, plot)
    watch(records, tracking, history, monitor.take, monitor.refresh, monitor.close)
    return history


def watch(
    records: Iterable[Record],
    tracking: Tracking,
    history: History,
    take: Callable[[Record], object],
    refresh: Callable[[], object],
    close: Callable[[str], object] = lambda outcome: None,
) -> None:
    """Hand on the records of an experiment until it ends, and then how it ended.

    Args:
        records: while they come.
        tracking: gets them, and how it ended.
        history: of the experiment.
        take: gets each record, and adds it to the history.
        refresh: is called after a record, ten times a second at most, and in each second without one.
        close: gets the outcome: "finished", "failed", "stopped", or "no longer watched" after an interrupt,
            which the experiment does not notice.

    Raises:
        ExperimentFailed: as `records` does, or the experiment was stopped before its best model was tested.
    """
    refreshed = -math.inf
    try:
        for record in with_ticks(records):
            if record is not None:
                take(record)
                tracking.take(record)
            if time.monotonic() - refreshed > _REFRESH_SECONDS:
                refresh()
                refreshed = time.monotonic()
        outcome = "stopped" if history.test is None else "finished"
    except BaseException as error:
        outcome = "failed" if isinstance(error, Exception) else "no longer watched"
        raise
    finally:
        close(outcome)
        tracking.close(outcome)
    if outcome == "stopped":
        raise ExperimentFailed("the experiment ended before its best model was tested: somebody stopped it")


class Monitor:
    """Turns records into what is seen; `follow` drives it."""

    def __init__(self, history: History, plot: bool = True) -> None:
        """Show an empty bar and, if it is wanted, an empty plot."""
        self.history = history
        self._started = time.monotonic()
        self._announced: set[str] = set()
        self._points = self._drawn_points = self._events = 0
        self._drawn_at = self._started
        # Both are None outside of a notebook, where only the lines are printed.
        self._bar = display(self._progress_bar("waiting for the first report"), display_id=True)
        self._plot = display(self._curves(), display_id=True) if plot else None

    def take(self, record: Record) -> None:
        """Note one record; print what it completes."""
        self.history.add(record)
        if record["metric_name"] in ("accuracy", "loss"):
            self._points += 1
        for line in self._news(int(record["round"])):
            print(line, flush=True)

    def refresh(self) -> None:
        """Bring the bar up to date, and the plot if it has something new and was not drawn just now."""
        self._show_bar(activity(self.history))
        if self._drawn_points < self._points and time.monotonic() - self._drawn_at > _REDRAW_SECONDS:
            self._show_curves()

    def close(self, outcome: str) -> None:
        """Show the final state."""
        self._show_bar(outcome)
        self._show_curves()

    def _news(self, openfl_round: int) -> Iterator[str]:
        """Yield a line for each thing that a record of a round has completed, and that was not told yet."""
        history = self.history
        lines: dict[str, Callable[[], str]] = {
            "queued": self._queue_in_words,
            "start": partial(_start_in_words, history),
            # OpenFL's round validates one and trains the next; its records complete no other.
            **{f"round {n}": partial(_round_in_words, history, n) for n in (openfl_round, openfl_round + 1)},
            "test": partial(_test_in_words, history),
            "personal": partial(personal_in_words, history),
        }
        for key, in_words in lines.items():
            if key not in self._announced and (line := in_words()):
                self._announced.add(key)
                yield line
        told, self._events = self._events, len(history.events)
        yield from (f"Note: {event}" for event in history.events[told:])

    def _queue_in_words(self) -> str:
        waits = self.history.waits_behind if self._bar is None else ""  # else the bar says so, while it lasts
        return waits and f"Waits behind {waits}"

    def _show_bar(self, words: str) -> None:
        if self._bar is not None:
            self._bar.update(self._progress_bar(words))

    def _show_curves(self) -> None:
        if self._plot is not None:
            self._plot.update(self._curves())
        self._drawn_points, self._drawn_at = self._points, time.monotonic()

    def _progress_bar(self, words: str) -> ProgressBar:
        return ProgressBar(progress(self.history), round(time.monotonic() - self._started), words)

    def _curves(self) -> Image:
        return show(plot_learning(self.history), "loss and validation accuracy over the training rounds")


def _start_in_words(history: History) -> str:
    score = history.initial_validation
    return f"Before training: validation accuracy {score}" if score else ""


def _round_in_words(history: History, number: int) -> str:
    if number > history.rounds or (result := history.round_result(number)) is None:
        return ""
    loss = "–" if result.train_loss is None else f"{result.train_loss:.3f}"
    spent = "" if result.epsilon is None else f", epsilon {result.epsilon:.3g}"
    return (
        f"Round {number} of {history.rounds}: training loss {loss}, "
        f"validation accuracy {result.validation}, {result.seconds:.1f} s{spent}"
    )


def _test_in_words(history: History) -> str:
    score = history.test
    return f"Best model, of round {history.best_round}: test accuracy {score}" if score else ""
