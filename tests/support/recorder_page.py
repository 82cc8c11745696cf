"""The recorder of notebook 6 in JupyterLab and Chromium, whose microphone plays a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import nbformat
import numpy as np
import soundfile

from superb_node.labels import LABELS
from tests.support.browser import WAIT_SECONDS, NotebookPage, jupyter_lab, outside_requests, sync_api

WORKSPACE = Path(__file__).resolve().parents[2] / "workspace"
NAME, TAKES = "record.ipynb", 3
SOURCE = """\
from superb_notebook.own_voice.voice import recorder, voice_folder

recorder(voice_folder({folder!r}, {labels!r}, takes={takes}))"""
CELL = "recorder(voice_folder("
PITCH = 440.0  # Hz
DEVICE = "--use-fake-device-for-media-stream"
ALLOWED = "--use-fake-ui-for-media-stream"


@contextmanager
def lab_with_recorder(
    tmp_path: Path, folder: str = "envoy_voice", labels: Sequence[str] = LABELS
) -> Iterator[str]:
    """Run JupyterLab in `tmp_path/lab` on a notebook with the recorder; yields where it is shown.

    Args:
        tmp_path: receives everything.
        folder: of the envoy, seen from the notebook.
        labels: the federation's classes.
    """
    lab = tmp_path / "lab"
    lab.mkdir()
    source = SOURCE.format(folder=folder, labels=tuple(labels), takes=TAKES)
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}}
    cells = [nbformat.v4.new_code_cell(source)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), lab / NAME)
    with jupyter_lab(lab, tmp_path / "jupyter", {"PYTHONPATH": str(WORKSPACE)}) as tree:
        yield f"{tree}/{NAME}"


def beeping_microphone(folder: Path) -> str:
    """Return the argument that makes a file the microphone: a beep each second, not at the clips' rate."""
    rate = 48_000
    second = np.random.default_rng(0).normal(0, 0.001, rate)
    beep = 0.3 * np.sin(2 * np.pi * PITCH * np.arange(rate * 2 // 5) / rate)
    second[: len(beep)] += beep
    soundfile.write(folder / "beep.wav", np.tile(second, 5), rate, subtype="PCM_16")
    return f"--use-file-for-fake-audio-capture={folder / 'beep.wav'}"


class RecorderPage:
    """The recorder in a tab, and the hands and ears of who sits before it."""

    def __init__(self, browser: sync_api.Browser, address: str) -> None:
        self.context = browser.new_context(viewport={"width": 1200, "height": 900})
        self.outside = outside_requests(self.context)
        self.notebook = NotebookPage(self.context, address, cells=1)
        self.notebook.wait_for_kernel()
        self.notebook.restart("Restart Kernel and Run All Cells…")
        self.seen = self.notebook.page.locator(".superb-recorder")
        self.seen.wait_for(timeout=1000 * WAIT_SECONDS)  # the kernel imports PyTorch

    @property
    def button(self) -> sync_api.Locator:
        """The one that records."""
        return self.seen.get_by_role("button", name="Record")

    def record(self, word: str, take: int, of: int = TAKES) -> None:
        self.button.click()
        self.wait_for(f"{word}, {take} of {of}: kept")

    def press(self, what: str, word: str, take: int) -> None:
        self.seen.get_by_role("button", name=f"{what}: {word}, take {take}", exact=True).click()

    def wait_for(self, text: str) -> None:
        sync_api.expect(self.seen.locator(".said")).to_contain_text(text, timeout=60_000)

    def run(self, script: str) -> object:
        """Evaluate JavaScript in the page."""
        return self.notebook.page.evaluate(script)

    def listened(self) -> float:
        """Seconds of the clip that was played to its end."""
        self.notebook.page.wait_for_function("document.querySelector('.superb-recorder audio').ended")
        return float(self.seen.locator("audio").evaluate("player => player.duration"))
