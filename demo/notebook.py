"""Executes the tutorial's notebook from top to bottom and tells a listener what happens in it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import nbformat
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat import NotebookNode

from demo.errors import DemoError
from demo.interrupts import held_back
from demo.process import TAIL_LINES
from demo.run_folder import write_atomically

_WATCH_SECONDS = 0.25
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*$", re.MULTILINE)
# nbconvert's own page without its scripts: they typeset formulas and draw diagrams and widgets, of which the
# notebook has none, and are fetched from elsewhere. The descriptions of plots, which it drops, are put back.
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
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


class NotebookError(DemoError):
    """A cell raised, the kernel ended, or the notebook cannot be read."""


class Listener(Protocol):
    """What wants to know how the execution gets on; called from another thread."""

    def on_cell(self, number: int, total: int, section: str) -> None:
        """The code cell `number` of `total`, counted from 1, starts in a section of this heading."""

    def on_line(self, line: str) -> None:
        """A cell printed a line to stdout."""


def load(path: Path, parameters: Mapping[str, Any]) -> NotebookNode:
    """Read a notebook and put a cell that sets `parameters` behind its cell tagged `parameters`.

    Raises:
        NotebookError: there is no such file, or no cell has that tag.
    """
    if not path.is_file():
        raise NotebookError(f"no notebook at {path}")
    notebook: NotebookNode = nbformat.read(path, as_version=4)
    tagged = [i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", [])]
    if not tagged:
        raise NotebookError(f"{path.name}: no cell is tagged `parameters`")
    source = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
    cell = nbformat.v4.new_code_cell(
        source, id="injected-parameters", metadata={"tags": ["injected-parameters"]}
    )
    notebook.cells.insert(tagged[0] + 1, cell)
    return notebook


def execute(
    notebook: NotebookNode, folder: Path, listener: Listener, watch: Callable[[], None] = lambda: None
) -> None:
    """Run all cells with this interpreter in `folder`; the outputs go into `notebook` as they come.

    The kernel is talked to in a thread, so that this one is free to watch the federation and to take
    a Ctrl-C.

    Args:
        notebook: changed in place.
        folder: working directory of the kernel.
        listener: told about cells and printed lines.
        watch: called every quarter of a second; what it raises ends the execution.

    Raises:
        NotebookError: a cell raised, or the kernel ended.
    """
    run = _Run(notebook, folder, listener)
    try:
        while not run.wait(_WATCH_SECONDS):
            watch()
    finally:
        with held_back():
            run.stop()
    if run.error is not None:
        raise _explained(run.error) from run.error


def save(notebook: NotebookNode, stem: Path, replace: Mapping[str, str] | None = None) -> None:
    """Write `stem`.ipynb and a stand-alone `stem`.html.

    Args:
        notebook: executed, wholly or in part.
        stem: path without the ending.
        replace: texts to be replaced in both files, such as a folder's temporary name.
    """
    from nbconvert import HTMLExporter  # looks for a home folder, which the demo makes sure of first

    exporter = HTMLExporter(embed_images=True, raw_template=_STANDS_ALONE)
    html, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": stem.name}})
    for ending, text in ((".ipynb", nbformat.writes(notebook) + "\n"), (".html", html)):
        for old, new in (replace or {}).items():
            text = text.replace(old, new)
        write_atomically(stem.with_suffix(ending), text)


class _Run:
    """One execution in a thread with an event loop of its own."""

    def __init__(self, notebook: NotebookNode, folder: Path, listener: Listener) -> None:
        self.error: BaseException | None = None
        self._client = _Client(notebook, folder, listener)
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[Any] | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._main, name="notebook", daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        return self._done.wait(seconds)

    def stop(self) -> None:
        """End the execution, if it still runs, and the kernel with it."""
        if not self._done.is_set():
            self._loop.call_soon_threadsafe(self._cancel)
        self._thread.join()

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _main(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._task = self._loop.create_task(self._client.run())
            self._loop.run_until_complete(self._task)
        except BaseException as error:  # handed to the thread that waits
            self.error = error
        finally:
            self._client.kill_what_is_left()
            self._close_loop()
            self._done.set()

    def _close_loop(self) -> None:
        """Let what nbclient left pending in the loop end before the loop does."""
        pending = asyncio.all_tasks(self._loop)
        for task in pending:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()


class _ThisInterpreter(AsyncKernelManager):
    """Starts the kernel with the running Python, whatever kernels are installed for the user."""

    @property
    def kernel_spec(self) -> KernelSpec:
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        # Below that level the kernel warns of connections that do not leave this machine.
        return KernelSpec(argv=[*command, "--log-level=ERROR"], display_name="Python 3", language="python")


class _Client(NotebookClient):
    """nbclient with a listener."""

    def __init__(self, notebook: NotebookNode, folder: Path, listener: Listener) -> None:
        super().__init__(
            notebook,
            timeout=None,
            startup_timeout=120,
            record_timing=False,
            shutdown_kernel="immediate",
            kernel_manager_class=_ThisInterpreter,
            resources={"metadata": {"path": str(folder)}},
            on_cell_start=self._cell_starts,
            on_cell_execute=self._cell_executes,
            on_cell_executed=self._cell_ends,
        )
        self._listener = listener
        self._total = sum(_is_code(cell) for cell in notebook.cells)
        self._number = 0
        self._section = ""
        self._printed = _Lines(listener.on_line)
        self._kernel_pid: int | None = None

    async def run(self) -> None:
        await self.async_execute()

    def kill_what_is_left(self) -> None:
        """End what cells have started and left running: the kernel leads a process group."""
        if self._kernel_pid is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._kernel_pid, signal.SIGKILL)

    async def async_start_new_kernel(self, **kwargs: Any) -> None:
        await super().async_start_new_kernel(**kwargs)
        self._kernel_pid = getattr(getattr(self.km, "provisioner", None), "pid", None)

    def output(self, outs: list[NotebookNode], msg: dict[str, Any], *rest: Any) -> NotebookNode | None:
        if msg["msg_type"] == "stream" and msg["content"]["name"] == "stdout":
            self._printed.feed(msg["content"]["text"])
        return super().output(outs, msg, *rest)

    def _cell_starts(self, cell: NotebookNode, **_: Any) -> None:
        if cell.cell_type == "markdown" and (headings := _HEADING.findall(cell.source)):
            self._section = headings[-1]

    def _cell_executes(self, **_: Any) -> None:
        self._number += 1
        self._listener.on_cell(self._number, self._total, self._section)

    def _cell_ends(self, **_: Any) -> None:
        self._printed.flush()


class _Lines:
    """Cuts printed text into lines; of a line rewritten with carriage returns the last state counts."""

    def __init__(self, emit: Callable[[str], None]) -> None:
        self._emit = emit
        self._rest = ""

    def feed(self, text: str) -> None:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._emit(line.rstrip("\r").rpartition("\r")[2])

    def flush(self) -> None:
        if self._rest:
            self.feed("\n")


def _is_code(cell: NotebookNode) -> bool:
    return bool(cell.cell_type == "code" and cell.source.strip())


def _explained(error: BaseException) -> NotebookError:
    if isinstance(error, CellExecutionError):
        lines = _ANSI.sub("", error.traceback).strip().splitlines()
        return NotebookError("a cell of the notebook failed:\n" + "\n".join(lines[-TAIL_LINES:]))
    if isinstance(error, DeadKernelError):
        return NotebookError("the notebook's kernel ended; it may have run out of memory")
    return NotebookError(f"the notebook could not be executed: {error!r}")
