"""The kernel is real; the notebooks are a few cells."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest

from demo import notebook
from demo.interrupts import Interrupted, raise_interrupted
from demo.notebook import NotebookError
from demo.process import ProcessDied

from .conftest import NOTEBOOK, ROOT, is_gone, left_below, notebook_of

pytestmark = pytest.mark.notebook
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

ADDED_BY_NOBODY = {"OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "PYTHONUNBUFFERED", "no_proxy"}


class Recorder:
    """Notes down what the execution tells; a subclass may act on a line."""

    def __init__(self) -> None:
        self.events: list[object] = []

    def on_cell(self, number: int, total: int, section: str) -> None:
        self.events.append((number, total, section))

    def on_line(self, line: str) -> None:
        self.events.append(line)


def parametrised(tmp_path: Path, *sources: str) -> nbformat.NotebookNode:
    nbformat.write(notebook_of(*sources), tmp_path / "n.ipynb")
    return notebook.load(tmp_path / "n.ipynb", {"MODEL": "tiny", "ROUNDS": 2})


def test_parameters_take_the_place_of_the_notebooks_own(tmp_path: Path) -> None:
    recorder = Recorder()
    notebook.execute(parametrised(tmp_path, "print(MODEL, ROUNDS, RUN_DIR)"), tmp_path, recorder)
    assert recorder.events[-1] == "tiny 2 run"


def test_cells_and_lines_are_told_in_order(tmp_path: Path) -> None:
    recorder = Recorder()
    cells = parametrised(
        tmp_path, "print('a')\nprint('b\\n\\nc', end='')", "print('1 %\\r50 %\\r99 %\\ndone'); 'not a line'"
    )
    notebook.execute(cells, tmp_path, recorder)
    assert recorder.events == [
        (1, 4, "Stand-in"),
        (2, 4, "Stand-in"),
        (3, 4, "Section 1"),
        *("a", "b", "", "c"),
        (4, 4, "Section 2"),
        *("99 %", "done"),
    ]


def test_the_kernel_is_this_interpreter_in_the_given_folder(tmp_path: Path) -> None:
    recorder = Recorder()
    cells = parametrised(tmp_path, "import os, sys\nprint(sys.executable)\nprint(os.getcwd())")
    cells.metadata["kernelspec"] = {"name": "no-such-kernel", "display_name": "x", "language": "python"}
    notebook.execute(cells, tmp_path, recorder)
    assert recorder.events[-2:] == [sys.executable, str(tmp_path)]
    assert [cell.execution_count for cell in cells.cells if cell.cell_type == "code"] == [1, 2, 3]


def test_the_kernel_has_the_environment_that_jupyterlab_would_give_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it needs for itself it gets from `superb_ks`, as a person's kernel does."""
    for name in ADDED_BY_NOBODY:
        monkeypatch.delenv(name, raising=False)
    cells = parametrised(tmp_path, "import json, os\njson.dump(dict(os.environ), open('environ.json', 'w'))")
    notebook.execute(cells, tmp_path, Recorder())
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


def test_a_failing_cell_is_explained_and_what_ran_is_kept(tmp_path: Path) -> None:
    recorder = Recorder()
    cells = parametrised(tmp_path, "print('before')", "{}['speed']", "print('after')")
    with pytest.raises(NotebookError, match="KeyError: 'speed'"):
        notebook.execute(cells, tmp_path, recorder)
    assert recorder.events[-1] == (4, 5, "Section 2")
    notebook.save(cells, tmp_path / "notebook")
    saved = nbformat.read(tmp_path / "notebook.ipynb", as_version=4)
    outputs = [cell.outputs for cell in saved.cells if cell.cell_type == "code"]
    assert outputs[2][0]["text"] == "before\n"
    assert outputs[3][0]["ename"] == "KeyError"
    assert outputs[4] == []
    assert "KeyError" in (tmp_path / "notebook.html").read_text()


def test_a_kernel_that_dies_is_reported(tmp_path: Path) -> None:
    with pytest.raises(NotebookError, match="kernel ended"):
        notebook.execute(parametrised(tmp_path, "import os; os._exit(9)"), tmp_path, Recorder())


def test_what_the_watcher_raises_ends_the_execution_and_the_kernel(tmp_path: Path) -> None:
    recorder = Recorder()
    died = ProcessDied("env_two", -9, tmp_path / "env_two.log", "out of memory")

    def watch() -> None:
        if "running" in recorder.events:
            raise died

    cells = parametrised(tmp_path, "import time; print('running', flush=True); time.sleep(600)")
    with pytest.raises(ProcessDied) as raised:
        notebook.execute(cells, tmp_path, recorder, watch)
    assert raised.value is died
    assert not left_below(tmp_path)


def test_an_interrupt_ends_the_kernel_and_what_its_cells_started(tmp_path: Path) -> None:
    class Interrupt(Recorder):
        def on_line(self, line: str) -> None:
            super().on_line(line)
            os.kill(os.getpid(), signal.SIGINT)

    recorder = Interrupt()
    source = (
        "import subprocess; child = subprocess.Popen(['sleep', '600'])\n"
        "print(child.pid, flush=True)\nchild.wait()"
    )
    with pytest.raises(Interrupted), raise_interrupted():
        notebook.execute(parametrised(tmp_path, source), tmp_path, recorder)
    assert not left_below(tmp_path)
    child = int(str(recorder.events[-1]))
    assert is_gone(child)


def test_the_page_stands_alone_and_names_the_final_folder(tmp_path: Path) -> None:
    source = (
        "import base64\nfrom IPython.display import Image\nprint('../runs/.partial-7/model')\n"
        f"Image(base64.b64decode({PIXEL!r}), format='png')"
    )
    cells = parametrised(tmp_path, source)
    notebook.execute(cells, tmp_path, Recorder())
    notebook.save(cells, tmp_path / "notebook", {".partial-7": "7"})
    page = (tmp_path / "notebook.html").read_text()
    assert f"data:image/png;base64,{PIXEL}" in page.replace("\n", "")
    for text in (page, (tmp_path / "notebook.ipynb").read_text()):
        assert "../runs/7/model" in text
        assert ".partial-7" not in text
        assert str(tmp_path) not in text
    assert json.loads((tmp_path / "notebook.ipynb").read_text())["nbformat"] == 4


def test_the_tutorials_page_fetches_nothing_and_has_no_formula_to_typeset(tmp_path: Path) -> None:
    tutorial = nbformat.read(ROOT / NOTEBOOK, as_version=4)
    notebook.save(tutorial, tmp_path / "notebook")
    page = Page()
    page.feed((tmp_path / "notebook.html").read_text())
    assert len(page.sources) >= 20, "plots and audio players are in the page"
    assert {source.partition(":")[0] for source in page.sources} == {"data"}
    assert "confusion matrix of the best model on the test clips" in page.descriptions
    assert "No description has been provided for this image" not in page.descriptions
    assert not page.tags & {"script", "link", "iframe", "object", "embed"}
    prose = "".join(cell.source for cell in tutorial.cells if cell.cell_type == "markdown")
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
    cells.cells[1].metadata["tags"] = []
    nbformat.write(cells, tmp_path / "n.ipynb")
    with pytest.raises(NotebookError, match=r"n\.ipynb: no cell is tagged `parameters`"):
        notebook.load(tmp_path / "n.ipynb", {})
    with pytest.raises(NotebookError, match="no notebook at"):
        notebook.load(tmp_path / "other.ipynb", {})
