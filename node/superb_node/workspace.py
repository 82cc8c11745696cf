"""The folder in which an experiment's tasks work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from superb_node.work_folder import remove_tree


@contextmanager
def own_workspace(name: str) -> Iterator[Path]:
    """Make a folder of this name for an experiment; it goes with all that is in it."""
    folder = Path(name).absolute()
    remove_tree(folder)
    folder.mkdir()
    try:
        yield folder
    finally:
        remove_tree(folder)
