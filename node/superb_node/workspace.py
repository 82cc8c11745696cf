"""The folder in which an experiment's tasks work."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def own_workspace(name: str) -> Iterator[Path]:
    """Work in a new folder of this name, which goes with all that is in it."""
    before, folder = Path.cwd(), Path(name).absolute()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    os.chdir(folder)
    try:
        yield folder
    finally:
        os.chdir(before)
        shutil.rmtree(folder, ignore_errors=True)
