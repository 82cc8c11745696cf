"""Tests of the Flower app, and of simulations by it; Flower needs Python 3.11."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import psutil
import pytest

from speech_commands.synthetic.corpus import write_corpus
from speech_commands.synthetic.script import Size
from tests.support.many_speakers import write_many_speakers

ROOT = Path(__file__).resolve().parents[2]

_before = os.environ.get("GRPC_VERBOSITY")
pytest.importorskip("flwr", reason="Flower is not installed: requirements-flower.txt, Python 3.11 or later")
pytest.importorskip("flwr.supercore.grpc")
# Flower silences gRPC for its process and those that it starts, and other tests here read what gRPC says.
if _before is None:
    os.environ.pop("GRPC_VERBOSITY", None)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_many_speakers(tmp_path_factory.mktemp("speech"), 4, 1, 1)


@pytest.fixture(scope="module")
def shard_params(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Where a few clips of synthetic speech are, as a shard descriptor is told."""
    folder = tmp_path_factory.mktemp("speech")
    write_corpus(folder, seed=0, size=Size(12, 4, 4, 2, 2, 2))
    return {
        "source": "folder",
        "data_dir": str(folder / "speech_commands_v0.01"),
        "test_dir": str(folder / "speech_commands_test_set_v0.01"),
    }


@pytest.fixture
def process_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages are made by a process of a run."""
    from flwr.supercore.task_identity import TaskIdentity

    for name in ("_run_id", "_task_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project's folders that a simulation runs from: its runs stay in it."""
    for name in ("demo", "envoy", "flower", "simulation", "workspace/superb_notebook"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("work", "__pycache__"))
    return tmp_path


def app_defaults() -> dict[str, Any]:
    """The app's run config where nothing is given."""
    from flwr.common.config import get_project_config

    return dict(get_project_config(ROOT / "flower")["tool"]["flwr"]["app"]["config"])


def left(project: Path) -> list[str]:
    """What still runs of a simulation, and what lies about of it."""
    running = []
    for process in psutil.process_iter():
        try:
            its = process.environ().get("FLWR_HOME", "").startswith(str(project))
        except (psutil.Error, OSError):
            continue
        if its and process.status() != psutil.STATUS_ZOMBIE:
            running.append(process.name())
    return running + [name for name in (".flwr", ".ray") if (project / name).exists()]
