"""JupyterLab and a real browser: what a person clicks, and what there is to see afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from demo.ports import free_ports
from demo.process import ServiceProcess, stop_all
from tests.support.lab import wait_until

if TYPE_CHECKING:
    from playwright import sync_api
else:
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "build" / "browser"
"""Where the tests leave what they saw."""
WAIT_SECONDS = 240
_ARGUMENTS = (
    "--no-sandbox --headless --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --autoplay-policy=no-user-gesture-required"
).split()
# Errors and what libraries print to stderr; a clean run has neither.
_TROUBLE = '[data-mime-type$="jupyter.error"], [data-mime-type$="jupyter.stderr"]'
_PLAY = """player => new Promise((ended, failed) => {
    player.onended = () => ended(player.duration);
    player.onerror = () => failed(new Error(player.error.message));
    player.play().catch(failed);
})"""
# JupyterLab lays cells out as they come into view, which moves the others: look until it stays for 20 frames.
_LOOK = """cell => {
    const notebook = cell.closest('.jp-WindowedPanel-outer');
    const gap = notebook.getBoundingClientRect().bottom - cell.getBoundingClientRect().bottom;
    cell.steady = Math.abs(gap) < 30 ? (cell.steady || 0) + 1 : 0;
    if (!cell.steady) cell.scrollIntoView({block: 'end'});
    return cell.steady > 20;
}"""


@contextmanager
def chromium(*arguments: str) -> Iterator[sync_api.Browser]:
    """Start Debian's browser, with further arguments; skips the test where there is none."""
    executable = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    if executable is None:
        pytest.skip("no browser: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=[*_ARGUMENTS, *arguments])
        yield browser
        browser.close()


@contextmanager
def jupyter_lab(folder: Path, state: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """Run `jupyter lab` in a folder, as the README says, without its login; yields its address.

    Args:
        folder: with the notebook.
        state: folder for its log and all that it would keep in the user's home.
        environment: variables added to those of this process.
    """
    (port,) = free_ports(1)
    homes = {name: state / name.lower() for name in ("CONFIG", "DATA", "RUNTIME")}
    variables = {f"JUPYTER_{name}_DIR": str(path) for name, path in homes.items()}
    variables |= {f"JUPYTERLAB_{name}_DIR": str(state / name.lower()) for name in ("SETTINGS", "WORKSPACES")}
    # The question whether it may fetch news would lie over the cells.
    asked = state / "settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    asked.parent.mkdir(parents=True)
    asked.write_text(json.dumps({"fetchNews": "false", "checkForUpdates": False}))
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--IdentityProvider.token="]
    command += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    command += ["--allow-root"] if os.geteuid() == 0 else []
    lab = ServiceProcess(
        "lab", command, folder, {**os.environ, **variables, **environment}, state / "lab.log"
    )
    try:
        # Chromium loads a page again by itself where nobody answers, which would interrupt the next attempt.
        wait_until(lambda: _listens(lab, port), WAIT_SECONDS)
        yield f"http://localhost:{port}/lab/tree"
    finally:
        stop_all([lab], grace_seconds=60)  # it ends the kernels itself


class NotebookPage:
    """A browser's tab with the notebook, and the hands and eyes of who sits before it."""

    def __init__(self, context: sync_api.BrowserContext, address: str, cells: int) -> None:
        """Open the notebook; returns when all of its `cells` are there."""
        self.page = context.new_page()
        self.page.goto(address, wait_until="domcontentloaded")
        sync_api.expect(self.page.locator(".jp-Cell")).to_have_count(cells, timeout=1000 * WAIT_SECONDS)

    def wait_for_kernel(self) -> None:
        """Return when the status bar says that the kernel is there."""
        self._see(self.page.locator("#jp-main-statusbar"), r"\| (Idle|Busy)")

    def choose(self, menu: str, entry: str) -> None:
        """Choose an entry of the menu bar."""
        self.page.get_by_role("menuitem", name=menu, exact=True).click()
        self.page.locator(".lm-Menu-itemLabel").get_by_text(entry, exact=True).click()

    def restart(self, entry: str) -> None:
        """Choose an entry of the menu Kernel that asks for a confirmation, and confirm it."""
        self.choose("Kernel", entry)
        self.page.get_by_role("button", name="Confirm Kernel Restart").click()

    def select(self, source: str) -> None:
        """Select the code cell in which a text stands."""
        cell = self._cell(source)
        cell.scroll_into_view_if_needed()
        cell.locator(".jp-InputPrompt").first.click()

    def write(self, source: str, code: str) -> None:
        """Put other code into the cell in which a text stands; it stays selected."""
        self._cell(source).locator(".cm-content").click()
        self.page.keyboard.press("Control+a")
        self.page.keyboard.insert_text(code)
        self.page.keyboard.press("Escape")

    def output(self, source: str) -> str:
        """Return what stands below the code cell in which a text stands."""
        return self._output(source).text_content() or ""

    def wait_for(self, source: str, pattern: str, other_than: str | None = None) -> str:
        """Return the output of a cell once it matches a pattern, and is another than it was."""
        if other_than:
            sync_api.expect(self._output(source)).not_to_have_text(other_than, timeout=1000 * WAIT_SECONDS)
        self._see(self._output(source), pattern)
        return self.output(source)

    def plot(self, source: str) -> str:
        """Return the image that a cell shows."""
        return self._cell(source).locator(".jp-RenderedImage img").first.get_attribute("src") or ""

    def play_all(self, source: str) -> list[float]:
        """Play a cell's recordings to their ends, one after another; returns how long each is."""
        return [player.evaluate(_PLAY) for player in self._cell(source).locator("audio").all()]

    def trouble(self) -> list[str]:
        """Return every error and warning that stands anywhere in the notebook."""
        return self.page.locator(_TROUBLE).all_text_contents()

    def picture(self, name: str, source: str | None = None) -> None:
        """Leave a picture of what is seen, scrolled to a cell's output."""
        if source:
            self.page.wait_for_function(_LOOK, arg=self._cell(source).element_handle())
        picture(self.page, name)

    def _cell(self, source: str) -> sync_api.Locator:
        return self.page.locator(
            ".jp-CodeCell", has=self.page.locator(".jp-InputArea", has_text=source)
        ).first

    def _output(self, source: str) -> sync_api.Locator:
        return self._cell(source).locator(".jp-OutputArea").first

    def _see(self, what: sync_api.Locator, pattern: str) -> None:
        sync_api.expect(what).to_contain_text(re.compile(pattern, re.DOTALL), timeout=1000 * WAIT_SECONDS)


def picture(page: sync_api.Page, name: str, whole: bool = False) -> None:
    """Leave a picture of a page."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"{name}.png", full_page=whole)


def outside_requests(context: sync_api.BrowserContext) -> list[str]:
    """Return a list that receives the address of everything that is asked of other machines."""
    seen: list[str] = []

    def note(request: sync_api.Request) -> None:
        if not re.match(r"(data|blob|file):|http://localhost:", request.url):
            seen.append(request.url)

    context.on("request", note)
    return seen


def _listens(lab: ServiceProcess, port: int) -> bool:
    lab.check()
    with contextlib.suppress(OSError), socket.create_connection(("localhost", port), timeout=1):
        return True
    return False
