"""Hands an experiment's records to the backends, each in a thread of its own, so that none is waited for."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from superb_notebook.experiment import Records
from superb_notebook.told_settings import flat, told_settings
from superb_notebook.tracking.backends import RUN_DIR, TRACK, About, Run, backends_of, open_run
from superb_notebook.tracking.points import Note, Point, read

logger = logging.getLogger(__name__)

CLOSING_SECONDS = 60.0
"""How long a backend is waited for at the end, to write what it has not written yet."""


class Tracking:
    """The runs of one experiment in all backends that were asked for.

    Args:
        records: of the experiment, as `FederatedExperiment.records()` returns them.
        track: names of backends, with commas between them; None: those of SUPERB_TRACK, or none.
        run_dir: folder for the backends that write files; None: that of SUPERB_RUN_DIR, or
            `../runs/` with the experiment's name.

    Raises:
        TrackingError: a backend does not exist, is not installed, or cannot begin a run.
    """

    def __init__(self, records: Iterable[Any], track: str | None, run_dir: Path | str | None) -> None:
        names = backends_of(os.environ.get(TRACK, "") if track is None else track)
        self._writers: list[_Writer] = []
        if not names:
            return
        about = _about(records, run_dir)
        try:
            for name in names:
                self._writers.append(_Writer(name, open_run(name, about)))
        except BaseException:
            self.close("failed")
            raise

    def take(self, record: Mapping[str, Any]) -> None:
        """Hand on one record."""
        if self._writers and (item := read(record)) is not None:
            for writer in self._writers:
                writer.arrived.put(item)

    def close(self, outcome: str) -> None:
        """Let each backend write what it still has, and how it ended."""
        for writer in self._writers:
            writer.arrived.put(outcome)
        for writer in self._writers:
            writer.wait()


class _Writer:
    """Writes what arrives into one run; one that fails is left alone, and the experiment goes on."""

    def __init__(self, name: str, run: Run) -> None:
        self._name, self._run = name, run
        self.arrived: queue.SimpleQueue[Point | Note | str] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write_all, name=f"track {name}", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        self._thread.join(CLOSING_SECONDS)
        if self._thread.is_alive():
            logger.warning("%s has not written all records in %g s", self._name, CLOSING_SECONDS)

    def _write_all(self) -> None:
        try:
            outcome = ""
            while not outcome:
                points, notes, outcome = self._batch()
                if points or notes:
                    self._run.write(points, notes)
            self._run.close(outcome)
        except Exception as error:  # each library has its own
            first_line = str(error).strip().partition("\n")[0] or type(error).__name__
            logger.warning("%s gets no more records, the experiment goes on: %s", self._name, first_line)
            with contextlib.suppress(Exception):  # else it counts as running there for ever
                self._run.close("failed")

    def _batch(self) -> tuple[list[Point], list[Note], str]:
        """Wait for something, and return it with all else that is there, and the outcome if that is too."""
        points, notes = [], []
        item = self.arrived.get()
        while not isinstance(item, str):
            if isinstance(item, Point):
                points.append(item)
            else:
                notes.append(item)
            try:
                item = self.arrived.get_nowait()
            except queue.Empty:
                return points, notes, ""
        return points, notes, item


def _about(records: Iterable[Any], run_dir: Path | str | None) -> About:
    known = records.experiment if isinstance(records, Records) else None
    name = known.experiment_name if known else "experiment"
    settings = known.settings if known else None
    runs = settings.runs_dir if settings else Path("..", "runs")
    folder = run_dir or os.environ.get(RUN_DIR) or Path(runs, name)
    return About(name, flat(told_settings(settings)) if settings else {}, Path(folder))
