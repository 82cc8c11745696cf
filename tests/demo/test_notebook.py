"""The kernel is real; the notebooks are a few cells."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from rich.console import Console

from demo import notebook
from demo.interrupts import Interrupted, raise_interrupted
from demo.notebook import NotebookError
from demo.process import ProcessDied
from demo.report import LiveProgress

from .conftest import NOTEBOOK, ROOT, is_gone, left_below, notebook_of

pytestmark = pytest.mark.notebook
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

ADDED_BY_NOBODY = {"OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "PYTHONUNBUFFERED", "no_proxy"}


class Run:
    """A notebook of a few cells in a folder, what running it shows, and the result."""

    def __init__(self, folder: Path, *sources: str, kernel: str = "python3") -> None:
        self.folder, self.output = folder, folder / "notebook.ipynb"
        self.path, self._shown = folder / "n {of} some.ipynb", io.StringIO()
        cells = notebook_of(*sources)
        cells.metadata["kernelspec"] = {"name": kernel, "display_name": "x", "language": "python"}
        nbformat.write(cells, self.path)

    def execute(self, watch: Callable[[], None] = lambda: None) -> nbformat.NotebookNode:
        parameters = {"MODEL": "tiny", "ROUNDS": 2}
        with LiveProgress(Console(file=self._shown, width=200)) as progress:
            notebook.execute(self.path, self.output, self.folder, parameters, progress, watch)
        return nbformat.read(self.output, as_version=4)

    @property
    def shown(self) -> list[str]:
        """The lines on the terminal, without seconds and indentation."""
        lines = self._shown.getvalue().rstrip("\n").splitlines()
        return [re.sub(r"^ *([0-9.]+ s  )?", "", line) for line in lines]


def test_parameters_take_the_place_of_the_notebooks_own(tmp_path: Path) -> None:
    run = Run(tmp_path, "print(MODEL, ROUNDS, RUN_DIR)")
    run.execute()
    assert run.shown[-1] == "tiny 2 run"


def test_headings_and_lines_are_shown_in_order(tmp_path: Path) -> None:
    run = Run(
        tmp_path, "print('a')\nprint('b\\n\\nc', end='')", "print('1 %\\r50 %\\r99 %\\ndone'); 'not a line'"
    )
    run.execute()
    assert run.shown == ["Stand-in", "Section 1", "a", "b", "", "c", "Section 2", "99 %", "done"]


def test_the_bar_counts_the_code_cells(tmp_path: Path) -> None:
    run, terminal = Run(tmp_path, "1", ""), io.StringIO()
    console = Console(file=terminal, width=80, force_terminal=True)
    with LiveProgress(console) as progress:
        notebook.execute(run.path, run.output, tmp_path, {"MODEL": "tiny"}, progress)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    assert re.search(r"Section 1 ━+ cell 3 of 3 0:00:", plain)


def test_the_kernel_is_this_interpreter_in_the_given_folder(tmp_path: Path) -> None:
    run = Run(tmp_path, "import os, sys\nprint(sys.executable)\nprint(os.getcwd())", kernel="no-such-kernel")
    executed = run.execute()
    assert run.shown[-2:] == [sys.executable, str(tmp_path)]
    assert [cell.execution_count for cell in executed.cells if cell.cell_type == "code"] == [1, 2, 3]


def test_the_saved_notebook_has_no_times_and_no_paths(tmp_path: Path) -> None:
    executed = Run(tmp_path, "1").execute()
    assert "papermill" not in executed.metadata
    metadata = [dict(cell.metadata) for cell in executed.cells]
    assert metadata == [{}, {"tags": ["parameters"]}, {"tags": ["injected-parameters"]}, {}, {}]


def test_the_kernel_has_the_environment_that_jupyterlab_would_give_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it needs for itself it gets from `superb_ks`, as a person's kernel does."""
    for name in ADDED_BY_NOBODY:
        monkeypatch.delenv(name, raising=False)
    Run(tmp_path, "import json, os\njson.dump(dict(os.environ), open('environ.json', 'w'))").execute()
    inside = json.loads((tmp_path / "environ.json").read_text())
    own = os.environ.keys() - {
        "TERM",
        "CLICOLOR",
        "CLICOLOR_FORCE",
        "PAGER",
        "GIT_PAGER",
        "MPLBACKEND",
    }  # ipykernel's
    assert {name: inside.get(name) for name in own} == {name: os.environ[name] for name in own}
    assert not inside.keys() & ADDED_BY_NOBODY


def test_the_kernel_has_the_variables_that_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPERB_TRACK", "wandb")
    run = Run(tmp_path, "import os\nprint(os.environ['SUPERB_TRACK'], 'PATH' in os.environ)")
    notebook.execute(run.path, run.output, tmp_path, environment={"SUPERB_TRACK": "mlflow"})
    executed = nbformat.read(run.output, as_version=4)
    assert executed.cells[-1].outputs[0]["text"] == "mlflow True\n"
    assert os.environ["SUPERB_TRACK"] == "wandb"


def test_a_failing_cell_is_explained_and_what_ran_is_kept(tmp_path: Path) -> None:
    run = Run(tmp_path, "print('before')", "{}['speed']", "print('after')")
    with pytest.raises(NotebookError, match="KeyError: 'speed'"):
        run.execute()
    assert run.shown[-1] == "Section 2"
    notebook.make_page(run.output)
    saved = nbformat.read(run.output, as_version=4)
    outputs = [cell.outputs for cell in saved.cells if cell.cell_type == "code"]
    assert outputs[2][0]["text"] == "before\n"
    assert outputs[3][0]["ename"] == "KeyError"
    assert outputs[4] == []
    assert "KeyError" in (tmp_path / "notebook.html").read_text()


def test_a_kernel_that_dies_is_reported_and_what_ran_is_kept(tmp_path: Path) -> None:
    run = Run(tmp_path, "print('before')", "import os; os._exit(9)")
    with pytest.raises(NotebookError, match="kernel ended"):
        run.execute()
    assert "before" in run.output.read_text()


def test_what_the_watcher_raises_ends_the_execution_and_the_kernel(tmp_path: Path) -> None:
    run = Run(tmp_path, "import time; print('running', flush=True); time.sleep(600)")
    died = ProcessDied("env_two", -9, tmp_path / "env_two.log", "out of memory")

    def watch() -> None:
        if "running" in run.shown:
            raise died

    with pytest.raises(ProcessDied) as raised:
        run.execute(watch)
    assert raised.value is died
    assert not left_below(tmp_path)
    assert "running" in run.output.read_text()


@pytest.mark.parametrize("start", [True, False], ids=["as it starts", "in a cell"])
def test_an_interrupt_ends_the_kernel_and_what_its_cells_started(tmp_path: Path, start: bool) -> None:
    run = Run(
        tmp_path,
        "import subprocess; child = subprocess.Popen(['sleep', '600'])\n"
        "print('child', child.pid, flush=True)\nchild.wait()",
    )

    def watch() -> None:
        if start or run.shown[-1:] > ["child"]:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted), raise_interrupted():
        run.execute(watch)
    assert not left_below(tmp_path)
    if not start:
        assert is_gone(int(run.shown[-1].split()[1]))


def test_the_page_stands_alone_and_names_the_final_folder(tmp_path: Path) -> None:
    source = (
        "import base64\nfrom IPython.display import Image\nprint('../runs/.partial-7/model')\n"
        f"Image(base64.b64decode({PIXEL!r}), format='png')"
    )
    run = Run(tmp_path, source)
    run.execute()
    notebook.make_page(run.output, {".partial-7": "7"})
    page = (tmp_path / "notebook.html").read_text()
    assert f"data:image/png;base64,{PIXEL}" in page.replace("\n", "")
    for text in (page, run.output.read_text()):
        assert "../runs/7/model" in text
        assert ".partial-7" not in text
        assert str(tmp_path) not in text
    assert json.loads(run.output.read_text())["nbformat"] == 4


TUTORIAL = Path(NOTEBOOK).name
OTHERS = sorted(path.name for path in (ROOT / "workspace").glob("[0-9]_*.ipynb"))


@pytest.mark.parametrize("name", [TUTORIAL, *OTHERS])
def test_a_page_fetches_nothing_and_has_no_formula_to_typeset(name: str, tmp_path: Path) -> None:
    shutil.copy(ROOT / "workspace" / name, tmp_path / "notebook.ipynb")
    cells = nbformat.read(tmp_path / "notebook.ipynb", as_version=4).cells
    notebook.make_page(tmp_path / "notebook.ipynb")
    page = Page()
    page.feed((tmp_path / "notebook.html").read_text())
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    plots = sum("image/png" in output.get("data", {}) for output in outputs)
    assert len(page.descriptions) == plots > 0
    assert len(page.sources) - plots >= (8 if name == TUTORIAL else 0), "two rows of audio players"
    assert {source.partition(":")[0] for source in page.sources} == {"data"}
    assert "No description has been provided for this image" not in page.descriptions
    assert not page.tags & {"script", "link", "iframe", "object", "embed"}
    prose = "".join(cell.source for cell in cells if cell.cell_type == "markdown")
    assert "$" not in prose
    assert not re.search("</?[a-z]+/?>", prose), "nbconvert takes tags within a line apart"


class Page(HTMLParser):
    """The tags of a page, where its images and sounds come from, and what the images show."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.sources: list[str] = []
        self.descriptions: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.sources += [value or "" for name, value in attributes if name in ("src", "srcset", "poster")]
        self.descriptions += [value or "" for name, value in attributes if name == "alt"]


def test_a_notebook_without_a_cell_of_parameters_is_refused(tmp_path: Path) -> None:
    cells = notebook_of("1")
    nbformat.write(cells, tmp_path / "n.ipynb")
    assert {"MODEL", "ROUNDS", "RUN_DIR"} < notebook.settings_of(tmp_path / "n.ipynb")
    cells.cells[1].metadata["tags"] = []
    nbformat.write(cells, tmp_path / "n.ipynb")
    with pytest.raises(NotebookError, match=r"n\.ipynb: no cell is tagged `parameters`"):
        notebook.settings_of(tmp_path / "n.ipynb")
    with pytest.raises(NotebookError, match=r"other\.ipynb is no notebook"):
        notebook.settings_of(tmp_path / "other.ipynb")
