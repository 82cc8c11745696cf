"""Shows the errors that a person can do something about in one line, without a page of traceback."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from IPython.core.getipython import get_ipython

from superb_ks.experiment import ExperimentFailed, FederationError
from superb_ks.model import ModelMismatch, ModelUnavailable

EXPLAINED = (FederationError, ExperimentFailed, ModelMismatch, ModelUnavailable)
"""Their messages say what is wrong and what to do; where in the code they arose helps nobody."""


def explain_briefly() -> None:
    """Show `EXPLAINED` errors by name and message from now on; all others keep their traceback.

    Outside of a notebook nothing happens.
    """
    shell = get_ipython()
    if shell is not None:
        shell.set_custom_exc(EXPLAINED, _show)


def _show(
    shell: Any, kind: type[BaseException], error: BaseException, trace: TracebackType, tb_offset: Any = None
) -> list[str]:
    lines = [f"\x1b[31m{kind.__name__}:\x1b[0m {error}"]
    shell._showtraceback(kind, error, lines)
    return lines
