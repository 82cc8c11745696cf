"""Runs a notebook with papermill while the services are watched, and keeps it as a file and as a page."""

from __future__ import annotations

import ast
import contextlib
import logging
import os
import signal
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import nbformat
import papermill
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError, strip_color

from demo.errors import DemoError
from demo.interrupts import held_back
from demo.process import TAIL_LINES
from demo.report import LiveProgress

_WATCH_SECONDS = 0.25
# What goes wrong is raised; its warnings would come between the lines of the notebook.
logging.getLogger("papermill").setLevel(logging.CRITICAL)
_WIDGET = "application/vnd.jupyter.widget-view+json"
# nbconvert's own page without its scripts, which are fetched from elsewhere: the notebooks have no formulas,
# diagrams or widgets. The descriptions of plots, which it drops, are put back.
_STANDS_ALONE = """\
{%- extends "lab/index.html.j2" -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
{%- block jupyter_widgets -%}{%- endblock -%}
{%- block data_png scoped -%}
{%- set description = output | get_metadata("alt", "image/png") -%}
{{ super() | replace("<img ", '<img alt="%s" ' % (description | escape)) if description else super() }}
{%- endblock -%}
"""


class NotebookError(DemoError):
    """A cell raised, the kernel ended, or the notebook cannot be read."""


def settings_of(path: Path) -> set[str]:
    """Names that the notebook's cell tagged `parameters` assigns.

    Raises:
        NotebookError: the file is no notebook, or no cell has that tag.
    """
    try:
        cells = nbformat.read(path, as_version=4).cells
        tagged = [cell.source for cell in cells if "parameters" in cell.metadata.get("tags", [])]
        names = [node for node in ast.walk(ast.parse("".join(tagged[:1]))) if isinstance(node, ast.Name)]
    except (OSError, ValueError, SyntaxError) as error:
        raise NotebookError(f"{path.name} is no notebook: {error}") from error
    if not tagged:
        raise NotebookError(f"{path.name}: no cell is tagged `parameters`")
    return {name.id for name in names if isinstance(name.ctx, ast.Store)}


def needs_federation(path: Path) -> bool:
    """Tell whether a notebook has a setting for a director's port; one without it simulates.

    Raises:
        NotebookError: the file is no notebook, or no cell has that tag.
    """
    return "DIRECTOR_PORT" in settings_of(path)


def execute(
    path: Path,
    output: Path,
    folder: Path,
    parameters: Mapping[str, Any] | None = None,
    progress: LiveProgress | None = None,
    watch: Callable[[], None] = lambda: None,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run all cells of a notebook in a kernel with this interpreter.

    papermill runs in a thread, so that this one can watch the services and take a Ctrl-C.

    Args:
        path: the notebook; the file stays as it is.
        output: file for the notebook with its outputs; written after a failure, too, if the kernel was up.
        folder: working directory of the kernel.
        parameters: values that replace those of the cell tagged `parameters`.
        progress: shows cells and printed lines as they come.
        watch: called every quarter of a second; what it raises ends the run.
        environment: variables of the kernel, added to those of this process.

    Raises:
        NotebookError: a cell raised, or the kernel ended.
    """
    run = _PapermillRun(folder, progress, environment or {})
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(run.execute, path, parameters or {})
        try:
            while not wait([ended], _WATCH_SECONDS).done:
                watch()
        finally:
            with held_back():
                while not ended.done():
                    run.kill_kernels()
                    wait([ended], _WATCH_SECONDS)
                run.kill_kernels()  # what cells have started and left running
            for notebook in run.notebooks:
                nbformat.write(_without_traces(notebook), output)
    if (error := ended.exception()) is not None:
        raise _explained(error) from error


class _PapermillRun:
    """A run of papermill, with the kernels that it starts and the notebook that it fills.

    Args:
        folder: working directory of the kernel.
        progress: shows cells and printed lines as they come.
        environment: variables of the kernel, added to those of this process.
    """

    def __init__(self, folder: Path, progress: LiveProgress | None, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = environment
        self._progress = progress
        self._kernels: list[AsyncKernelManager] = []
        self.notebooks: list[NotebookNode] = []

    def execute(self, path: Path, parameters: Mapping[str, Any]) -> None:
        """Run all cells of the notebook at `path`; raises what papermill raises."""
        progress = self._progress
        papermill.execute_notebook(
            _literal(path), None, dict(parameters),
            kernel_name="python3", language="python", progress_bar=False, start_timeout=120,
            stdout_file=progress,
            # The rest goes to nbclient. The kernel would warn of connections that do not leave this machine.
            kernel_manager_class=self._kernel_class(), extra_arguments=["--log-level=ERROR"],
            shutdown_kernel="immediate", iopub_timeout=60, record_timing=False,
            resources={"metadata": {"path": str(self._folder)}},
            on_notebook_start=self._starts, on_cell_start=progress and progress.cell_starts,
            on_cell_execute=progress and progress.cell_executes,
            on_cell_executed=progress and progress.cell_ends,
        )  # fmt: skip

    def kill_kernels(self) -> None:
        """End each kernel, which leads a process group, and what its cells have started."""
        for kernel in self._kernels:
            if (pid := getattr(kernel.provisioner, "pid", None)) is not None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signal.SIGKILL)

    def _kernel_class(self) -> type[AsyncKernelManager]:
        kernels, environment = self._kernels, self._environment

        class Kernel(AsyncKernelManager):
            """Has the running interpreter, whatever kernels are installed for the user."""

            def __init__(self, **options: Any) -> None:
                super().__init__(kernel_spec_manager=KernelSpecManager(kernel_dirs=[]), **options)
                kernels.append(self)

            async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]
                await super().start_kernel(env={**os.environ, **environment}, **options)

        return Kernel

    def _starts(self, notebook: NotebookNode) -> None:
        self.notebooks.append(notebook)
        if self._progress:
            self._progress.notebook_starts(notebook)


def _literal(path: Path) -> str:
    """Double the braces, as papermill fills in what stands in braces in a path."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _explained(error: BaseException) -> NotebookError:
    if isinstance(error, PapermillExecutionError):
        lines = strip_color("\n".join(error.traceback)).strip().splitlines()
        return NotebookError("a cell of the notebook failed:\n" + "\n".join(lines[-TAIL_LINES:]))
    if isinstance(error, DeadKernelError):
        return NotebookError("the notebook's kernel ended; it may have run out of memory")
    return NotebookError(f"the notebook could not be executed: {error!r}")


def _without_traces(notebook: NotebookNode) -> NotebookNode:
    """Drop what papermill notes down, such as times and paths of this machine, and what widgets leave.

    A widget is dead without its kernel; the text that stands for it is kept.
    """
    for traces in ("papermill", "widgets"):
        notebook.metadata.pop(traces, None)
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            output.get("data", {}).pop(_WIDGET, None)
        cell.metadata.pop("papermill", None)
        if not cell.metadata.get("tags", True):
            del cell.metadata["tags"]
    return notebook


def make_page(path: Path, replace: Mapping[str, str] | None = None) -> None:
    """Write an executed notebook as a stand-alone HTML page next to it.

    Args:
        path: the notebook.
        replace: texts to be replaced in both files, such as a folder's temporary name.
    """
    from nbconvert import HTMLExporter  # looks for a home folder, which the demo makes sure of first

    page = path.with_suffix(".html")
    html, _ = HTMLExporter(embed_images=True, raw_template=_STANDS_ALONE).from_filename(str(path))
    page.write_text(html, encoding="utf-8")
    for old, new in (replace or {}).items():
        for file in (path, page):
            file.write_text(file.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
