"""Errors that explain themselves show as one line in a real notebook; others keep their traceback."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from superb_ks.model.packing import trainable_layout
from superb_ks.model.spec import ModelSpec
from superb_ks.settings import SUPERB_LABELS, Settings

WORKSPACE = Path(__file__).resolve().parents[3] / "workspace"
NOTEBOOK = WORKSPACE / "PyTorch_Huggingface_transformers_SUPERB.ipynb"

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


def test_the_committed_outputs_are_of_the_model_as_it_is() -> None:
    """`python -m demo.outputs` renews them."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    printed = "".join(
        output.text for cell in code for output in cell.outputs if output.output_type == "stream"
    )
    size = trainable_layout(ModelSpec("tiny", SUPERB_LABELS).build())[-1].stop
    assert f"trained, and federated: {size:,} " in printed
    for name, value in vars(Settings().complete_recipe).items():
        assert f"{name}: {value}\n" in printed


def test_drawings_in_characters_fit_into_jupyterlab() -> None:
    """It folds longer lines, beside its list of files and on a screen of 1,280 pixels."""
    cells = [c for c in nbformat.read(NOTEBOOK, as_version=4).cells if c.cell_type == "markdown"]
    blocks = [block for cell in cells for block in cell.source.split("```")[1::2]]
    assert any("│ env_one " in block for block in blocks)
    assert max(len(line) for block in blocks for line in block.splitlines()) <= 84
