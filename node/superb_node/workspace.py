"""The folder in which an experiment's code runs, and that nothing of that code outlives it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from openfl.utilities.workspace import ExperimentWorkspace

from superb_node.approval.archive import unpack


class IsolatedWorkspace(ExperimentWorkspace):
    """Corrects: a long-lived process keeps the modules of one experiment's code for the next one, and what it
    unpacked of a damaged archive; an archive is unpacked by other rules than it was measured by.
    """

    def __enter__(self) -> None:
        """Unpack the archive into a folder of its own, and work there."""
        forget_code_below(self.cwd)
        folder = self.experiment_work_dir
        shutil.rmtree(folder, ignore_errors=True)
        try:
            folder.mkdir()
            unpack(self.data_file_path.read_bytes(), folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            self.data_file_path.unlink(missing_ok=True)
            raise
        os.chdir(folder)
        sys.path.append(str(folder))  # behind everything that is installed

    def __exit__(self, *exception: Any) -> None:
        """Leave the experiment's folder and forget the code that came from it."""
        try:
            super().__exit__(*exception)
        finally:
            forget_code_below(self.cwd)


def forget_code_below(folder: Path) -> None:
    """Forget the modules that were imported from below `folder`, and the entries of `sys.path` there."""
    below = f"{folder}{os.sep}"
    for name, module in sys.modules.copy().items():  # a copy: another thread may be importing
        if str(getattr(module, "__dict__", {}).get("__file__")).startswith(below):
            sys.modules.pop(name, None)
    sys.path[:] = [entry for entry in sys.path if not entry.startswith(below)]
