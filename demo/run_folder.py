"""The folder of one run, `runs/<id>/`: seen under its name only when it is complete."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
from datetime import datetime
from pathlib import Path

from demo.errors import DemoError
from superb_node.work_folder import point_latest_to

_KEPT_OF_A_FAILURE = ("logs", "notebook.ipynb", "notebook.html", "tensorboard", "wandb")


class RunFolder:
    """A run under construction; `publish`, `keep_failure` or `discard` ends it.

    Attributes:
        run_id: date and time of the start, with a number behind it where that is taken.
        path: where the run is built, `runs/.partial-<id>`.
        final: where it will be found, `runs/<id>`.
    """

    def __init__(self, runs: Path) -> None:
        """Make the folder in `runs`, which is made if need be.

        Raises:
            DemoError: it cannot be made there.
        """
        self._runs = runs
        try:
            runs.mkdir(parents=True, exist_ok=True)
            self.run_id, self.path = self._claim(f"{datetime.now():%Y%m%d-%H%M%S}")
        except FileExistsError:
            raise DemoError(f"{runs} is not a folder; move it away, runs go there") from None
        except OSError as error:
            raise DemoError(
                f"{runs} cannot be written ({error.strerror}); copy {runs.parent} to where you may write, "
                "and run the demo there"
            ) from error
        self.final = runs / self.run_id

    def _claim(self, start: str) -> tuple[str, Path]:
        """Make `.partial-<id>` for the first id, `start` or `start-2` and so on, that no run has."""
        for run_id in itertools.chain([start], (f"{start}-{number}" for number in itertools.count(2))):
            partial = self._runs / f".partial-{run_id}"
            if not any(os.path.lexists(self._runs / name) for name in (run_id, f"failed-{run_id}")):
                with contextlib.suppress(FileExistsError):
                    partial.mkdir()
                    break
        return run_id, partial

    def publish(self) -> Path:
        """Give the run its name and point `runs/latest` to it, if that can be; returns the final folder."""
        for working in ("nodes", ".flower"):  # the services' copies of folders, and what runs on Flower leave
            shutil.rmtree(self.path / working, ignore_errors=True)
        self.path.rename(self.final)
        with contextlib.suppress(OSError):  # the run is complete without it; see `is_latest`
            point_latest_to(self.final)
        return self.final

    @property
    def is_latest(self) -> bool:
        """Whether `runs/latest` points to the published run: not where a folder has that name."""
        latest = self._runs / "latest"
        return latest.is_symlink() and os.readlink(latest) == self.run_id

    def keep_failure(self) -> Path:
        """Keep logs and notebook as `runs/failed-<id>` and nothing else; returns that folder."""
        failed = self._runs / f"failed-{self.run_id}"
        failed.mkdir()
        for name in _KEPT_OF_A_FAILURE:
            with contextlib.suppress(FileNotFoundError):
                (self.path / name).rename(failed / name)
        self.discard()
        return failed

    def discard(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.path, ignore_errors=True)
