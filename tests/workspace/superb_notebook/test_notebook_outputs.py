"""Errors that explain themselves show as one line in a real notebook; others keep their traceback."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

WORKSPACE = Path(__file__).resolve().parents[3] / "workspace"

SETUP = f"""
import sys; sys.path.insert(0, {str(WORKSPACE)!r})
from superb_notebook.display import tidy_outputs
tidy_outputs()
from superb_notebook.connect import FederationError
def deep(error):
    raise error
"""


@pytest.fixture(scope="module")
def cells() -> list[nbformat.NotebookNode]:
    sources = [SETUP, "deep(FederationError('no envoy is online'))", "deep(KeyError('mine'))"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    NotebookClient(notebook, timeout=120, allow_errors=True).execute()
    return list(notebook.cells)


def test_importing_everything_prints_nothing(cells: list[nbformat.NotebookNode]) -> None:
    assert cells[0].outputs == []


def test_error_that_explains_itself_has_no_traceback(cells: list[nbformat.NotebookNode]) -> None:
    (error,) = cells[1].outputs
    assert (error.ename, error.evalue) == ("FederationError", "no envoy is online")
    assert error.traceback == ["\x1b[31mFederationError:\x1b[0m no envoy is online"]


def test_error_of_the_learners_own_keeps_it(cells: list[nbformat.NotebookNode]) -> None:
    (error,) = cells[2].outputs
    assert "deep" in "".join(error.traceback)
    assert len(error.traceback) > 1
