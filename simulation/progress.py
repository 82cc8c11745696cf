"""How far a simulation is, from the records that its server writes; a bar over its rounds in a terminal."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from superb_ks.run_files import GrowingRecords
from superb_ks.schedule import TRAIN, VALIDATE
from superb_notebook.history import History


class RunningHistory:
    """The records of a run that goes on.

    Args:
        output: the run's folder on the server.
        rounds: training rounds.

    Attributes:
        history: the records so far.
    """

    def __init__(self, output: Path, rounds: int) -> None:
        self.history = History(rounds, ())
        self._records, self._begun = GrowingRecords(output), False

    def read(self) -> None:
        """Take in the records that are new."""
        for record in self._records.new():
            self._begun = True
            self.history.add(record)

    @property
    def done(self) -> int:
        """Rounds that are closed, of `history.schedule.total_rounds`."""
        rounds, _ = self.history.series("round", "seconds", "aggregator")
        return len(rounds)

    @property
    def words(self) -> str:
        """What is going on, and how good the newest model is."""
        if not self._begun:
            return "Flower and its workers start, and clients say what they hold"
        history, done = self.history, min(self.done, self.history.rounds)
        words = [f"round {min(done + 1, history.rounds)} of {history.rounds}"]
        if done and (loss := history.pooled_loss(TRAIN, done - 1)) is not None:
            words.append(f"training loss {loss:.4f}")
        scores = [score for n in range(done + 1) if (score := history.score(VALIDATE, n)) is not None]
        if scores:
            words.append(f"validation accuracy {scores[-1].accuracy:.4f}")
        return ", ".join(words)


class RoundProgress:
    """Shows round, training loss and validation accuracy of a run in a terminal. A context manager.

    Args:
        console: where to show them.
    """

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, console=console, transient=True)
        self._task = self._bar.add_task("")

    def __enter__(self) -> RoundProgress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, run: RunningHistory) -> None:
        """Show how far a run is."""
        total = run.history.schedule.total_rounds
        self._bar.update(self._task, total=total, completed=run.done, description=run.words)
