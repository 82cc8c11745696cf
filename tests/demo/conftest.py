"""A small copy of the project: the real director and envoy, a few clips, and a notebook of four cells."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import nbformat
import numpy as np
import psutil
import pytest
import soundfile
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = "workspace/PyTorch_Huggingface_transformers_SUPERB.ipynb"
WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go", "bed")
RATE = 16_000

PARAMETERS = """\
MODEL, ROUNDS, SEED, TEST_DATA = "other", 0, 0, None
TUNING, STRATEGY, BASELINE = "full", "fedavg", "scratch"
DIRECTOR_HOST, DIRECTOR_PORT, AGGREGATOR_PORT, RUN_DIR = "nowhere", 0, 0, "run"
"""

WRITE_SUMMARY = """\
import json, pathlib
run = pathlib.Path(RUN_DIR)
(run / "model").mkdir()
rounds = range(1, ROUNDS + 1)
rows = [{"round": n, "train_loss": 1 / n, "val_accuracy": n / 8, "seconds": 1.5} for n in rounds]
baseline = {"model": BASELINE, "rounds": rows, "test_accuracy": 0.4375}
summary = {
    "model": MODEL, "tuning": TUNING, "strategy": STRATEGY, "baseline": baseline,
    "data": "folder", "partition": "iid", "envoys": 2, "rounds": rows,
    "initial_test_accuracy": 0.0625, "test_accuracy": 0.9375, "test_clips": 16, "confusion": [[0] * 12] * 12,
    "bytes_up_per_envoy_round": 1, "seconds_total": 3.0,
}
(run / "summary.json").write_text(json.dumps(summary))
print("summary in", RUN_DIR)
"""


def notebook_of(*sources: str) -> NotebookNode:
    """A notebook with a cell of parameters, followed by these cells, each below a heading of its own."""
    parameters = new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
    cells = [new_markdown_cell("# Stand-in\n\nSome text."), parameters]
    for number, source in enumerate(sources, start=1):
        cells += [new_markdown_cell(f"## Section {number}"), new_code_cell(source)]
    return new_notebook(cells=cells)


def write_clip(path: Path, seconds: float, seed: int) -> None:
    """A WAV file of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).uniform(-0.1, 0.1, int(seconds * RATE)).astype(np.float32)
    soundfile.write(path, noise, RATE)


@pytest.fixture(scope="session")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with training and test archive: four training, two validation and two test clips a word."""
    folder = tmp_path_factory.mktemp("data")
    train, test = folder / "speech_commands_v0.01", folder / "speech_commands_test_set_v0.01"
    for word in WORDS:
        for speaker in range(6):
            write_clip(train / word / f"0000000{speaker}_nohash_0.wav", 0.2, speaker)
        for speaker in range(6, 8):
            label = "_unknown_" if word == "bed" else word
            write_clip(test / label / f"0000000{speaker}_nohash_0.wav", 0.2, speaker)
    for number in range(2):
        write_clip(test / "_silence_" / f"{number}.wav", 0.2, number)
    write_clip(train / "_background_noise_" / "hum.wav", 10.0, 9)
    validation = [f"{word}/0000000{speaker}_nohash_0.wav\n" for word in WORDS for speaker in (4, 5)]
    (train / "validation_list.txt").write_text("".join(validation))
    (train / "testing_list.txt").write_text("")
    return folder


@pytest.fixture
def shard_params(archives: Path) -> dict[str, str | int]:
    """Shard parameters for the small archives."""
    test = archives / "speech_commands_test_set_v0.01"
    return {"source": "folder", "data_dir": str(archives / "speech_commands_v0.01"), "test_dir": str(test)}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the demo, the director and the envoy, with a notebook that only writes its summary."""
    root = tmp_path / "project"
    for name in ("demo", "director", "envoy", "node/superb_ks", "workspace/superb_notebook"):
        ignored = shutil.ignore_patterns("work", "__pycache__", "tiny")
        shutil.copytree(ROOT / name, root / name, ignore=ignored)
    write_notebook(root, WRITE_SUMMARY)
    return root


def write_notebook(root: Path, *sources: str) -> None:
    """Give the small project a notebook of these cells."""
    (root / NOTEBOOK).parent.mkdir(exist_ok=True)
    nbformat.write(notebook_of(*sources), root / NOTEBOOK)


def processes_below(folder: Path) -> list[psutil.Process]:
    """Running processes whose working directory is a folder or below it."""
    found = []
    for process in psutil.process_iter():
        try:
            cwd = Path(process.cwd())
            running = process.status() != psutil.STATUS_ZOMBIE
        except (psutil.Error, OSError):
            continue
        if running and cwd.is_relative_to(folder):
            found.append(process)
    return found


def left_below(folder: Path) -> list[psutil.Process]:
    """Those of `processes_below` that are still there when the last kill has had time to arrive."""
    _, alive = psutil.wait_procs(processes_below(folder), timeout=5)
    return alive


def is_gone(pid: int) -> bool:
    """Whether a process ends within seconds; what nobody has reaped has ended too."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False
