"""Keeps the notebook's outputs to what a reader wants to see."""

from __future__ import annotations

import warnings
from types import TracebackType
from typing import Any

from IPython.core.getipython import get_ipython

from superb_notebook.history import without_frames


def tidy_outputs() -> None:
    """Silence the libraries' advice, and show errors that explain themselves by name and message alone.

    Those are the ones that a person can do something about: no director, too few envoys, a model that
    cannot be had, an experiment that failed. All others keep their traceback.
    """
    # tqdm asks for notebook widgets when transformers is imported; the progress shown here needs none.
    warnings.filterwarnings("ignore", message="IProgress not found")
    import transformers

    from superb_ks.model.spec import ModelMismatch, ModelUnavailable
    from superb_node.errors import ToldError

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    shell = get_ipython()
    if shell is not None:
        shell.set_custom_exc((ToldError, ModelMismatch, ModelUnavailable), _show)


def _show(
    shell: Any, kind: type[BaseException], error: BaseException, trace: TracebackType, tb_offset: Any = None
) -> list[str]:
    # An envoy sends its traceback along; the envoy's log has all of it.
    lines = [f"\x1b[31m{kind.__name__}:\x1b[0m {without_frames(str(error))}"]
    shell._showtraceback(kind, error, lines)
    return lines
