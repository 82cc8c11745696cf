"""Nodes of one federation run the same Python: experiments travel as pickled code, which differs by version.

Code that Python 3.12 wrote ends Python 3.11 with a segmentation fault; other pairs raise TypeErrors. So
envoys and notebooks tell their version when they call, and the director turns another one away before
anything is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping

from superb_node.director.experiment_store import Refused
from superb_node.reports import PYTHON, PYTHON_HEADER


class OtherPython(Refused):
    """A caller runs another Python than this director; asking again does not change that."""


def require_same_python(who: str, headers: Mapping[str, object]) -> None:
    """Return if a caller runs this director's version of Python, or does not tell which.

    Args:
        who: the caller, for the message.
        headers: metadata of the call.

    Raises:
        OtherPython: it runs another one.
    """
    theirs = str(headers.get(PYTHON_HEADER, PYTHON))[:20]
    if theirs != PYTHON:
        raise OtherPython(
            f"{who} runs Python {theirs} and the director Python {PYTHON}; code that travels between them "
            "works with one version only: start both with the same"
        )
