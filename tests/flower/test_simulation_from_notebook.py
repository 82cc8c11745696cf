"""Simulations from a notebook: what is kept, what is refused, and that nothing outlives the kernel."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from dp_accounting import GaussianDpEvent
from dp_accounting.rdp import RdpAccountant
from nbclient import NotebookClient

from demo import notebook
from demo.errors import DemoError
from demo.options import LISTED, TEST_FOLDER
from simulation.key import key_of
from simulation.notebook import ABOUT, KEPT, View, simulate
from simulation.options import Options
from simulation.process import run_in_child
from simulation.progress import RunningHistory
from superb_ks.model.spec import ModelSpec
from superb_ks.run_files import CARDS, RECORDS
from superb_ks.settings import Head, Privacy, Recipe, Settings
from superb_notebook.experiment import ExperimentFailed, experiment_text
from superb_notebook.flower import copy_app
from superb_notebook.history import History
from superb_notebook.tasks import tutorial_tasks
from tests.flower.conftest import ROOT, left
from tests.support.lab import wait_until
from tests.workspace.experiment_records import two_rounds

NOTEBOOK = ROOT / "workspace" / "5_hundreds_of_speakers.ipynb"
# Classes of one's own, which are those of the shards.
OWN_CLASSES = """
import sys
from simulation.notebook import simulate
from superb_ks.settings import Head, Settings
print(simulate(Settings(tuning=Head(), rounds=1, runs_dir="runs"), 6, data=sys.argv[1]).test)
"""
# What a kernel does that is killed, or interrupted, while a simulation runs.
ENDLESS = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # as a kernel has, however it was started
from simulation.notebook import simulate
from superb_ks.settings import Head, Settings
simulate(Settings(tuning=Head(), rounds=1000, runs_dir=sys.argv[1]), 6, data=sys.argv[2])
"""


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"clients": 0}, r"Options.clients is 0; legal: a whole number from 1 to 10,000"),
        ({"partition": "word"}, r"Options.partition is 'word'; legal: 'iid' or 'speaker'"),
        ({"alpha": 0.0}, r"Options.alpha is 0.0; legal: above 0"),
        ({"evaluate": 2.0}, r"Options.evaluate is 2.0; legal: in \(0, 1\]"),
    ],
)
def test_an_illegal_value_is_named(given: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        simulate(Settings(), **given)


def test_a_folder_that_is_not_there_is_told_in_a_line() -> None:
    with pytest.raises(ExperimentFailed, match=r"^DATA=/nowhere: no such folder"):
        simulate(Settings(), data="/nowhere")


def add_a_clip(data: Path) -> None:
    clip = next(data.glob("yes/*.wav"))
    shutil.copy(clip, clip.with_name(f"another_{clip.name}"))


def lengthen_a_clip(data: Path) -> None:
    with next(data.glob("yes/*.wav")).open("ab") as clip:
        clip.write(b"\0\0")


def append(text: str, *names: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        with folder.joinpath(*names).open("a", encoding="utf-8") as file:
            file.write(text)

    return change


DESCRIPTORS_PARAMS = append("    on_bad_clip: skip\n", "envoy", "envoy_config.yaml")
DESCRIPTOR = append("# changed\n", "envoy", "superb_shard_descriptor.py")
PARTITION = append("# changed\n", "envoy", "speech_commands", "partition.py")
APP = append("# changed\n", "flower", "superb_flower", "rounds.py")
PLOTS = append("# changed\n", "workspace", "superb_notebook", "plots.py")


def set_threads(project: Path) -> None:
    config = project / "envoy" / "envoy_config.yaml"
    text = config.read_text()
    assert "cpu_threads: null" in text
    config.write_text(text.replace("cpu_threads: null", "cpu_threads: 1"))


@pytest.mark.parametrize(
    ("change", "another"),
    [
        (DESCRIPTORS_PARAMS, True),
        (DESCRIPTOR, True),
        (PARTITION, True),
        (APP, True),
        (PLOTS, False),
        (set_threads, False),
    ],
)
def test_a_simulation_is_another_with_other_code_or_shards(
    change: Callable[[Path], None], another: bool, project: Path
) -> None:
    before = key_of(Options(), b"{}", project)
    change(project)
    assert (key_of(Options(), b"{}", project) != before) == another


@pytest.mark.parametrize(
    ("change", "another"),
    [
        (add_a_clip, True),
        (lengthen_a_clip, True),
        (append("yes/0.wav\n", "validation_list.txt"), True),
        (append("left by a system", "yes", "Thumbs.db"), False),
        (append("read me", "README.md"), False),
    ],
)
@pytest.mark.parametrize("where", ["data_dir", "test_dir"])
def test_a_simulation_is_another_with_other_clips(
    change: Callable[[Path], None], another: bool, where: str, archive: Path, tmp_path: Path
) -> None:
    folders = {"data_dir": archive, "test_dir": archive, where: tmp_path / "archive"}
    shutil.copytree(archive, tmp_path / "archive")
    options, words = Options(**folders), Options(data_dir=folders["data_dir"], test_dir=LISTED)
    before, listed = key_of(options, b"{}"), key_of(words, b"{}")
    change(tmp_path / "archive")
    assert (key_of(options, b"{}") != before) == another
    assert (key_of(words, b"{}") != listed) == (another and where == "data_dir")


@pytest.fixture
def running(tmp_path: Path) -> Path:
    """The folder of a run whose first round is done."""
    records = [record for record in two_rounds() if record["round"] == 0]
    (tmp_path / RECORDS).write_text("".join(f"{json.dumps(record)}\n" for record in records))
    return tmp_path


def test_a_notebook_shows_the_plot_while_a_simulation_runs(running: Path) -> None:
    """Its cells: one that has not ended, and one that has."""
    begin = f"""
import sys
from pathlib import Path
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "workspace")!r}]
from simulation.notebook import RunningHistory, View
run, view = RunningHistory(Path({str(running)!r}), 2), View()
run.read()
for seconds in (1, 2):
    view.follow(run, seconds)
"""
    cells = [nbformat.v4.new_code_cell(code) for code in (begin, f"{begin}view.drop_plot()")]
    NotebookClient(nbformat.v4.new_notebook(cells=cells), timeout=120).execute()
    (goes_on,), (ended,) = (cell.outputs for cell in cells)
    assert goes_on.data["text/html"].count('src="data:image/png;base64,') == 1
    assert goes_on.data["text/plain"] == ended.data["text/plain"]
    assert ended.data["text/plain"].startswith("25% · 0:02 min · round 2 of 2, training loss 1.2500")
    assert "<img" not in ended.data["text/html"]


def test_without_a_notebook_only_the_first_bar_is_printed(
    running: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, view = RunningHistory(running, 2), View()
    run.read()
    view.follow(run, 1)
    view.drop_plot()
    assert capsys.readouterr().out.splitlines() == ["0% · 0:00 min · begins"]


def private(folder: Path, **other: object) -> Settings:
    recipe, privacy = Recipe(epochs_per_round=1), Privacy(clip_norm=1.0, noise_multiplier=2.0)
    plain = Settings(tuning=Head(), rounds=2, recipe=recipe, privacy=privacy, runs_dir=str(folder))
    return Settings.from_dict({**plain.to_dict(), **other})


@pytest.mark.federation
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_simulation_is_run_once_and_read_afterwards(archive: Path, tmp_path: Path) -> None:
    first = simulate(private(tmp_path), 6, data=str(archive))
    (kept,) = (tmp_path / KEPT).iterdir()
    assert {file.name for file in kept.iterdir()} == {RECORDS, CARDS, ABOUT}
    assert [path.name for path in tmp_path.iterdir()] == [KEPT]
    assert left(tmp_path) == []

    again = simulate(private(tmp_path), 6, data=str(archive))
    assert figures(again) == figures(first)
    assert list((tmp_path / KEPT).iterdir()) == [kept]
    trained = [name for name in first.envoys if first.value("train", "clips", 0, name) is not None]
    assert (len(first.envoys), len(trained)) == (6, 4)


def figures(history: History) -> object:
    return history.results(), history.test, history.envoys, history.series("train", "loss", "aggregator")


@pytest.mark.federation
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_privacy_is_counted_by_flowers_accountant(archive: Path, tmp_path: Path) -> None:
    history = simulate(private(tmp_path, fraction=0.5), 6, data=str(archive))
    accountant, spent = RdpAccountant(), []
    for _ in range(2):
        accountant.compose(GaussianDpEvent(2.0))
        spent.append(accountant.get_epsilon(1e-5))
    assert [history.epsilon(number) for number in (1, 2)] == pytest.approx(spent)


@pytest.mark.federation
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_simulation_that_fails_says_why_and_keeps_its_logs(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(ExperimentFailed, match="gets no clip by partition 'speaker'") as raised:
        simulate(private(tmp_path), 7, data=str(archive))
    (failed,) = tmp_path.iterdir()
    assert f"The logs are in {os.path.relpath(failed)}" in str(raised.value)
    assert (failed / "logs" / "run.log").read_text()
    assert left(tmp_path) == []


@pytest.mark.federation
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_model_of_other_classes_is_refused_in_a_line(archive: Path, tmp_path: Path) -> None:
    settings = private(tmp_path)
    text = experiment_text(ModelSpec.of(settings, ("yes", "no")).sealed(), tutorial_tasks(settings), settings)
    options = Options(clients=6, settings=settings, data_dir=archive, test_dir=archive.with_name(TEST_FOLDER))
    with pytest.raises(DemoError) as refused:
        run_in_child(options, tmp_path, lambda run: None, copy_app(tmp_path / "app", text))
    assert str(refused.value).endswith(", and the experiment's model yes no")
    assert "the clients have the classes yes no up down" in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    assert left(tmp_path) == []


def simulate_in(project: Path, data: str) -> subprocess.CompletedProcess[str]:
    """Simulate in a copy of the project, with its own envoy's folder."""
    path = os.pathsep.join((str(project), str(project / "workspace")))
    return subprocess.run(
        [sys.executable, "-c", OWN_CLASSES, data], cwd=project, env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.federation
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_classes_are_those_of_the_envoys_folder(archive: Path, project: Path) -> None:
    append("    labels: ['no', 'yes']\n", "envoy", "envoy_config.yaml")(project)
    done = simulate_in(project, str(archive))
    assert done.returncode == 0, done.stdout + done.stderr
    (kept,) = (project / "runs" / KEPT).iterdir()
    cards = json.loads((kept / CARDS).read_text())
    assert [card["labels"] for card in cards.values()] == [["no", "yes"]] * 6
    assert left(project) == []


def test_an_illegal_config_is_told_in_a_line(project: Path) -> None:
    append("further: {}\n", "envoy", "envoy_config.yaml")(project)
    done = simulate_in(project, "synthetic")
    assert "envoy_config.yaml: unknown section 'further'; legal: params, shard_descriptor" in done.stderr


@pytest.mark.federation
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_nothing_outlives_the_kernel(archive: Path, tmp_path: Path, number: signal.Signals) -> None:
    path = os.pathsep.join((str(ROOT), str(ROOT / "workspace")))
    kernel = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, str(tmp_path), str(archive)],
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.DEVNULL,
    )
    records = f".partial-*/nodes/output/{RECORDS}"
    while kernel.poll() is None and not any(file.stat().st_size for file in tmp_path.glob(records)):
        time.sleep(0.2)
    assert kernel.poll() is None
    kernel.send_signal(number)
    kernel.wait()
    wait_until(lambda: left(tmp_path) == [], 60)
    if number == signal.SIGINT:
        assert list(tmp_path.iterdir()) == []


@pytest.mark.federation
@pytest.mark.notebook
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_notebook_top_to_bottom(project: Path, archive: Path) -> None:
    """In a copy of the project, where its runs stay; with a few speakers and nothing to compare.

    The test archive is not next to the training archive.
    """
    shutil.copytree(archive, project / "train")
    shutil.copytree(archive.with_name(TEST_FOLDER), project / "tests")
    small = {"CLIENTS": 6, "ROUNDS": 2, "SHARES": [0.5, 1.0], "EPOCHS": [1], "NOISES": [1.0]}
    given = {
        **small,
        "PARTITIONS": ["speaker", "iid"],
        "DATA": "../train",
        "TEST_DATA": "../tests",
    }
    executed = project / "executed.ipynb"
    notebook.execute(NOTEBOOK, executed, project / "workspace", given)
    cells = nbformat.read(executed, as_version=4).cells
    outputs = json.dumps([cell.get("outputs", []) for cell in cells])
    assert '"output_type": "error"' not in outputs
    assert '"name": "stderr"' not in outputs
    assert str(project) not in outputs, "a path of this machine is in the outputs"
    assert "data:image/png" not in outputs, "the plot of a simulation that ran is left"
    shown = [output for cell in cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in shown) == 5
    # Two shares, one of them twice more, a partition, and the private ones of both shares.
    assert len(list((project / "runs" / KEPT).iterdir())) == 5
    assert left(project) == []
