"""The README's last step as a person does it: JupyterLab in a browser, which is closed on the way.

What was seen is in build/browser/ afterwards.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import nbformat
import papermill
import pytest

from demo import notebook
from demo.federation import Federation
from speech_commands.synthetic.corpus import write_corpus
from speech_commands.synthetic.script import Size
from superb_ks.settings import Addresses, Settings
from superb_notebook.connect import connect
from superb_notebook.experiment import list_experiments
from tests.demo.conftest import left_below
from tests.support.browser import NotebookPage, chromium, jupyter_lab, outside_requests, picture, sync_api
from tests.support.lab import wait_until

pytestmark = [
    pytest.mark.federation,
    pytest.mark.notebook,
    pytest.mark.slow,
    pytest.mark.timeout(1200),
]

ROOT = Path(__file__).resolve().parents[2]
NAME = "PyTorch_Huggingface_transformers_SUPERB.ipynb"
COMMITTED = ROOT / "workspace" / NAME
# Texts that tell the cells apart.
SUBMIT, FOLLOW = "experiment = FederatedExperiment(", "history = follow(experiment.records()"
LISTEN, MISTAKES, LAST = "examples = clips.one_of_each", "chosen = np.random", "write_summary(run_dir"
ATTACHED, BAR = "experiment = attach(", "div[style*='border-radius:5px']"


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[Federation]:
    """A director and two envoys with a little synthetic speech."""
    speech = tmp_path / "speech"
    write_corpus(speech, seed=0, size=Size(12, 4, 4, 2, 2, 2))
    test_dir = speech / "speech_commands_test_set_v0.01"
    params = {
        "source": "folder",
        "data_dir": str(speech / "speech_commands_v0.01"),
        "test_dir": str(test_dir),
    }
    with Federation(tmp_path / "nodes", envoys=2, shard_params=params) as running:
        yield running


@pytest.fixture
def address(tmp_path: Path, federation: Federation) -> Iterator[str]:
    """Where JupyterLab shows a copy of the notebook, the settings of which are a person's."""
    project = tmp_path / "project"
    workspace = project / "workspace"
    shutil.copytree(ROOT / "workspace", workspace, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "benchmarks" / "results", project / "benchmarks" / "results")
    settings: dict[str, int | str] = {"ROUNDS": 3, "EPOCHS_PER_ROUND": 10}
    settings["AGGREGATOR_PORT"] = federation.aggregator_port
    settings["TEST_DATA"] = str(tmp_path / "speech" / "speech_commands_test_set_v0.01")
    path = str(workspace / NAME)
    papermill.execute_notebook(path, path, settings, prepare_only=True)
    environment = {"DIRECTOR_PORT": str(federation.director_port)}
    with jupyter_lab(workspace, tmp_path / "jupyter", environment) as tree:
        yield f"{tree}/{NAME}"
    assert not left_below(project), "JupyterLab or a kernel outlived the test"


def test_a_person_runs_it_closes_the_page_and_comes_back(
    browser: sync_api.Browser, federation: Federation, address: str, tmp_path: Path
) -> None:
    context = browser.new_context(viewport={"width": 1360, "height": 1000})
    outside = outside_requests(context)
    page = NotebookPage(context, address, cells=_cells())
    run_all_and_watch(page, federation)
    (name,) = statuses(federation)
    page.page.close()

    page = NotebookPage(context, address, cells=_cells())
    picture(page.page, "3-opened-again")
    assert statuses(federation) == {name: "in_progress"}, "the experiment goes on without the page"
    watch_again(page)
    attach_after_a_restart(page, name)
    assert statuses(federation) == {name: "finished"}, "nothing was submitted a second time"
    executed = check_the_end(page, tmp_path / "project")
    assert outside == []
    context.close()
    for width in (1280, 700):
        check_the_page_of(executed, browser, width)


def run_all_and_watch(page: NotebookPage, federation: Federation) -> None:
    """Restart and run all; return in round 2, when bar and plot have been seen to change."""
    page.wait_for_kernel()
    page.restart("Restart Kernel and Run All Cells…")
    first = page.wait_for(FOLLOW, r"min · round 1: training, 0 of 2")
    before = page.plot(FOLLOW)
    page.picture("1-round-1", FOLLOW)
    second = page.wait_for(FOLLOW, r"min · round 2: training, .*Round 1 of 3: training loss")
    assert set(statuses(federation).values()) == {"in_progress"}
    assert share(first) < share(second) < 100
    assert "Round 1 of 3" not in first
    assert page.plot(FOLLOW) != before
    page.picture("2-round-2", FOLLOW)


def watch_again(page: NotebookPage) -> None:
    """What the notebook says to a person who has closed the page."""
    stale = page.output(FOLLOW)
    page.choose("Kernel", "Interrupt Kernel")
    page.wait_for_kernel()
    page.select(FOLLOW)
    page.choose("Run", "Run Selected Cell and All Below")
    shown = page.wait_for(FOLLOW, r"Before training.*Round 1 of 3: training loss", other_than=stale)
    assert shown.count("Round 1 of 3") == 1
    page.picture("4-watched-again", FOLLOW)


def attach_after_a_restart(page: NotebookPage, name: str) -> None:
    """What docs/usage.md says to a person who has restarted the kernel; runs the notebook to its end."""
    stale, last = page.output(FOLLOW), page.output(LAST)
    page.restart("Restart Kernel…")
    page.select(SUBMIT)
    page.choose("Run", "Run All Above Selected Cell")
    page.write(SUBMIT, re.sub(r'"ks-[0-9-]+"', f'"{name}"', _recipe()))
    page.choose("Run", "Run Selected Cell and All Below")
    assert f"'{name}': " in page.wait_for(ATTACHED, name)
    shown = page.wait_for(FOLLOW, r"100% · .* finished.*Best model", other_than=stale)
    assert [f"Round {number} of 3" in shown for number in (1, 2, 3)] == [True] * 3
    page.wait_for(LAST, r"Written: .*summary\.json", other_than=last)
    page.picture("5-attached", FOLLOW)


def check_the_end(page: NotebookPage, project: Path) -> Path:
    """No error anywhere, recordings that can be heard, results that are saved; returns the saved notebook."""
    assert page.trouble() == []
    heard = page.play_all(LISTEN)
    assert len(heard) == 4
    assert all(0.1 < seconds <= 1.5 for seconds in heard)
    assert all(0.1 < seconds <= 1.5 for seconds in page.play_all(MISTAKES))
    page.picture("6-listen", LISTEN)
    summary = json.loads((project / "runs" / "latest" / "summary.json").read_text())
    assert [row["round"] for row in summary["rounds"]] == [1, 2, 3]
    page.choose("File", "Save Notebook")
    saved, run = project / "workspace" / NAME, (project / "runs" / "latest").resolve().name
    wait_until(lambda: f"../runs/{run}/summary.json" in saved.read_text(), 60)
    return saved


def check_the_page_of(executed: Path, browser: sync_api.Browser, width: int) -> None:
    """`runs/…/notebook.html` is whole without a network, also in a narrow window."""
    notebook.make_page(executed)
    context = browser.new_context(viewport={"width": width, "height": 900}, offline=True)
    outside = outside_requests(context)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(executed.with_suffix(".html").as_uri())
    picture(page, f"7-page-{width}", whole=True)
    assert outside == complaints == []
    assert page.evaluate("document.images.length") >= 4
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("audio").count() >= 4
    assert all(page.locator("audio").evaluate_all("players => players.map(player => player.duration > 0.1)"))
    # The progress bar is no wider than the plot below it.
    edge = "element => element.getBoundingClientRect().right"
    bar, plot = page.locator(BAR), page.locator(f".jp-OutputArea:has({BAR}) img")
    assert bar.evaluate(edge) <= plot.evaluate(edge)
    context.close()


def statuses(federation: Federation) -> dict[str, str]:
    """Every experiment's status, asked from outside of the notebook."""
    ports = {"director_port": federation.director_port, "aggregator_port": federation.aggregator_port}
    return list_experiments(connect(Settings(addresses=Addresses(**ports))))


def share(bar: str) -> int:
    """The percentage that a progress bar shows."""
    return int(re.match(r"\s*(\d+)%", bar).group(1))


def _cells() -> int:
    """How many cells the opened notebook has: those committed, and one of settings."""
    return len(nbformat.read(COMMITTED, as_version=4).cells) + 1


def _recipe() -> str:
    """What docs/usage.md says is run in place of the cell that submits."""
    usage = (ROOT / "docs" / "usage.md").read_text(encoding="utf-8")
    (recipe,) = re.findall(
        r"```python\n(from superb_notebook.experiment import attach.*?)```", usage, re.DOTALL
    )
    return str(recipe)
