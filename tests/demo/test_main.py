"""The whole command in a small copy of the project, as a user sees it: output, files, exit code."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest

from .conftest import NOTEBOOK, ROOT, left_below, notebook_of, processes_below, write_notebook

pytestmark = [pytest.mark.federation, pytest.mark.notebook]


def command(archives: Path, *more: str) -> list[str]:
    data = str(archives / "speech_commands_v0.01")
    return [sys.executable, "-m", "demo", "--data", data, "--rounds", "2", *more]


def start(project: Path, arguments: list[str], **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        arguments,
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        env={**os.environ, **environment},
    )


def wait_for(process: subprocess.Popen[str], text: str) -> str:
    """Read the output up to a line with `text`."""
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if text in line:
            return seen
    raise AssertionError(f"{text!r} never came:\n{seen}")


def test_a_run_ends_in_a_table_and_a_complete_folder(project: Path, archives: Path) -> None:
    process = start(project, command(archives, "--envoys", "2"))
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert "Section 1" in output
    assert ".partial" not in output
    assert "0.0625 before training, 0.9375 after" in output
    assert "scratch, in as many rounds: 0.4375" in output
    run = (project / "runs" / "latest").resolve()
    assert {entry.name for entry in (project / "runs").iterdir()} == {"latest", run.name}
    expected = {"logs", "model", "notebook.ipynb", "notebook.html", "summary.json"}
    assert {entry.name for entry in run.iterdir()} == expected
    assert {log.stem for log in (run / "logs").iterdir()} == {"director", "env_one", "env_two"}
    summary = json.loads((run / "summary.json").read_text())
    assert len(summary["rounds"]) == 2
    for name in ("notebook.ipynb", "notebook.html", "model", "logs"):
        assert f"runs/{run.name}/{name}" in output
    saved = nbformat.read(run / "notebook.ipynb", as_version=4)
    assert saved.cells[-1].outputs[0]["text"] == f"summary in ../runs/{run.name}\n"
    assert not left_below(project)


@pytest.mark.slow
@pytest.mark.timeout(1200)  # Flower starts a process for each message, which loads PyTorch
@pytest.mark.skipif(find_spec("flwr") is None, reason="Flower needs Python 3.11 or later")
def test_the_tutorial_on_flower_leaves_what_it_leaves_on_openfl(
    project: Path, archives: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = project / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    shutil.copytree(ROOT / "flower", project / "flower", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / NOTEBOOK, project / NOTEBOOK)
    process = start(project, command(archives, "--envoys", "2", "--rounds", "1", "--engine", "flower"))
    output, _ = process.communicate(timeout=1100)
    assert process.returncode == 0, output
    assert "Starting a SuperLink and SuperNodes for 2 envoys ..." in output
    assert "tiny, full, fedavg; folder data, 2 envoys, iid" in output
    run = (project / "runs" / "latest").resolve()
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["engine"], summary["envoy_names"]) == ("flower", ["env_one", "env_two"])
    (row,) = summary["rounds"]
    line = f"{row['round']} {row['train_loss']:.4f} {row['val_accuracy']:.4f} {row['seconds']:.1f}"
    assert line in re.sub(r"[ │]+", " ", output)
    assert f"Test accuracy on 24 clips: {summary['initial_test_accuracy']:.4f} before training" in output
    kept = {"clip.wav", "logs", "model", "notebook.html", "notebook.ipynb", "summary.json"}
    assert {entry.name for entry in run.iterdir()} == kept
    assert {log.stem for log in (run / "logs").iterdir()} == {"director", "env_one", "env_two"}
    assert {entry.name for entry in run.parent.iterdir()} == {"latest", run.name}
    assert list(temporary.glob("superb-*")) == []
    assert not left_below(project)


def test_another_notebook_has_a_number_and_needs_no_summary(project: Path, archives: Path) -> None:
    """Its own settings stay, unless they are asked for."""
    nbformat.write(notebook_of("print(MODEL, ROUNDS, SEED)"), project / "workspace" / "3_small {test}.ipynb")
    process = start(project, command(archives, "--envoys", "1", "--notebook", "3", "--seed", "5"))
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert " other 2 5\n" in output
    (run,) = (path for path in (project / "runs").iterdir() if path.name != "latest")
    assert {entry.name for entry in run.iterdir()} == {"logs", "notebook.ipynb", "notebook.html"}
    assert f"runs/{run.name}/notebook.html\n" in output
    assert not left_below(project)


def test_a_notebook_without_a_directors_port_runs_without_a_federation(project: Path, archives: Path) -> None:
    alone = notebook_of("print('DATA', DATA)")
    alone.cells[1].source = "ROUNDS, SEED, DATA = 1, 0, 'synthetic'"
    nbformat.write(alone, project / "workspace" / "5_alone.ipynb")
    process = start(project, command(archives, "--notebook", "5"))
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert "Starting" not in output
    assert f" DATA {os.path.relpath(archives / 'speech_commands_v0.01', project / 'workspace')}\n" in output
    (run,) = (path for path in (project / "runs").iterdir() if path.name != "latest")
    assert {entry.name for entry in run.iterdir()} == {"notebook.ipynb", "notebook.html"}


@pytest.mark.slow
def test_a_failing_cell_keeps_the_logs_and_leaves_with_one(project: Path, archives: Path) -> None:
    write_notebook(project, "raise RuntimeError('no convergence')")
    process = start(project, command(archives, "--envoys", "1"))
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "RuntimeError: no convergence" in output
    (failed,) = (project / "runs").iterdir()
    assert f"the logs are in runs/{failed.name}" in output
    assert failed.name.startswith("failed-")
    assert {entry.name for entry in failed.iterdir()} == {"logs", "notebook.ipynb", "notebook.html"}
    assert "no convergence" in (failed / "notebook.ipynb").read_text()
    assert not left_below(project)


def test_an_envoy_that_dies_stops_the_run(project: Path, archives: Path) -> None:
    write_notebook(project, "import time; print('cell is running', flush=True); time.sleep(600)")
    process = start(project, command(archives, "--envoys", "2"))
    wait_for(process, "cell is running")
    envoys = [p for p in processes_below(project) if Path(p.cwd()).name == "env_two"]
    (service,) = [p for p in envoys if p.ppid() not in {other.pid for other in envoys}]
    service.kill()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "env_two ended with exit code -9" in output
    assert "Shard env_two registered" in output
    assert not left_below(project)


def test_an_interrupted_run_leaves_nothing(project: Path, archives: Path) -> None:
    write_notebook(project, "import time; print('cell is running', flush=True); time.sleep(600)")
    process = start(project, command(archives, "--envoys", "1"))
    wait_for(process, "cell is running")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert not list((project / "runs").iterdir())
    assert not left_below(project)


def test_an_interrupt_while_the_federation_comes_up_leaves_nothing(project: Path, archives: Path) -> None:
    process = start(project, command(archives, "--envoys", "2"))
    wait_for(process, "Starting a director")
    deadline = time.monotonic() + 60
    while len(processes_below(project)) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert not list((project / "runs").iterdir())
    assert not left_below(project)


def test_a_folder_named_latest_costs_one_line_and_not_the_table(project: Path, archives: Path) -> None:
    (project / "runs" / "latest").mkdir(parents=True)
    (project / "runs" / "latest" / "thesis.txt").write_text("years of work")
    process = start(project, command(archives, "--envoys", "1"))
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert "0.0625 before training, 0.9375 after" in output
    (run,) = (path for path in (project / "runs").iterdir() if path.name != "latest")
    assert output.splitlines()[-1] == (
        f"demo: runs/latest could not be linked to runs/{run.name}; if it is a folder, move it away"
    )
    assert (project / "runs" / "latest" / "thesis.txt").read_text() == "years of work"


def test_runs_that_is_a_file_ends_the_demo_at_its_start(project: Path, archives: Path) -> None:
    (project / "runs").write_text("not a folder")
    process = start(project, command(archives))
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert output == f"demo: {project / 'runs'} is not a folder; move it away, runs go there\n"


@pytest.mark.parametrize("name", [pytest.param("a project", marks=pytest.mark.slow), "Grüße, 'odd' & $HOME"])
def test_a_run_in_a_terminal_that_knows_ascii_alone(project: Path, archives: Path, name: str) -> None:
    """In folders with blanks and other letters, through the scripts that a person starts."""
    project = project.rename(project.with_name(name))
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    data = archives.rename(archives.with_name(f"{archives.name} für alle")) if "ü" in name else archives
    process = start(project, command(data, "--envoys", "1"), **plain)
    output, _ = process.communicate(timeout=120)
    if data != archives:
        data.rename(archives)
    assert process.returncode == 0, output
    assert "0.0625 before training, 0.9375 after" in output
    assert output.isascii()
    assert not left_below(project)
