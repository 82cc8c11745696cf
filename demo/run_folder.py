"""The folder of one run, `runs/<id>/`: seen under its name only when it is complete."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from datetime import datetime
from pathlib import Path

from demo.errors import DemoError

# The working copies of director and envoys; of no interest once they are stopped.
NODES = "nodes"
_KEPT_OF_A_FAILURE = ("logs", "notebook.ipynb", "notebook.html")


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
        try:
            runs.mkdir(parents=True, exist_ok=True)
            self.run_id, self.path = _claim(runs, f"{datetime.now():%Y%m%d-%H%M%S}")
        except FileExistsError:
            raise DemoError(f"{runs} is not a folder; move it away, runs go there") from None
        except OSError as error:
            raise DemoError(
                f"{runs} cannot be written ({error.strerror}); copy {runs.parent} to where you may write, "
                "and run the demo there"
            ) from error
        self._runs = runs
        self.final = runs / self.run_id

    def publish(self) -> Path:
        """Give the run its name and point `runs/latest` to it, if that can be; returns the final folder."""
        shutil.rmtree(self.path / NODES, ignore_errors=True)
        self.path.rename(self.final)
        with contextlib.suppress(OSError):  # the run is complete without it; see `is_latest`
            _point_to(self._runs / "latest", self.final.name)
        return self.final

    @property
    def is_latest(self) -> bool:
        """Whether `runs/latest` points to the published run: not where a folder has that name."""
        latest = self._runs / "latest"
        return latest.is_symlink() and os.readlink(latest) == self.final.name

    def keep_failure(self) -> Path:
        """Keep logs and notebook as `runs/failed-<id>` and nothing else; returns that folder."""
        for entry in self.path.iterdir():
            if entry.name not in _KEPT_OF_A_FAILURE:
                _remove(entry)
        failed = self._runs / f"failed-{self.run_id}"
        self.path.rename(failed)
        return failed

    def discard(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.path, ignore_errors=True)


def _claim(runs: Path, stem: str) -> tuple[str, Path]:
    """Make `.partial-<id>` for the first id, `stem` or `stem-2` and so on, that no run has."""
    number = 1
    while True:
        run_id = stem if number == 1 else f"{stem}-{number}"
        partial = runs / f".partial-{run_id}"
        with contextlib.suppress(FileExistsError):
            partial.mkdir()
            if not any(os.path.lexists(runs / name) for name in (run_id, f"failed-{run_id}")):
                return run_id, partial
            partial.rmdir()
        number += 1


def _point_to(link: Path, target: str) -> None:
    """Make `link` a symbolic link to `target` in one step."""
    temporary = Path(tempfile.mkdtemp(prefix=".latest-", dir=link.parent))
    try:
        (temporary / "link").symlink_to(target)
        os.replace(temporary / "link", link)
    finally:
        shutil.rmtree(temporary)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that nobody ever sees half of it."""
    temporary = path.with_name(f".{path.name}.partial")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
