"""The folder in which an experiment's tasks work."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def own_workspace(name: str) -> Iterator[Path]:
    """Make a folder of this name for an experiment; it goes with all that is in it."""
    folder = Path(name).absolute()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
