"""The notebooks as a person runs them: two envoys in copied folders, each notebook top to bottom.

The clips are those of ../shared where it is there (real speech), otherwise a small synthetic corpus.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

from demo import notebook
from demo.federation import Federation
from speech_commands.synthetic.corpus import write_corpus
from speech_commands.synthetic.script import Size
from superb_ks.model.packing import trainable_layout
from superb_ks.model.spec import ModelSpec
from superb_ks.settings import SUPERB_LABELS
from tests.demo.conftest import left_below

pytestmark = [pytest.mark.federation, pytest.mark.notebook, pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
WORKSPACE = ROOT / "workspace"
NOTEBOOK = WORKSPACE / "PyTorch_Huggingface_transformers_SUPERB.ipynb"
SHARED = ROOT.parent / "shared"
TRAIN, TEST = "speech_commands_v0.01", "speech_commands_test_set_v0.01"


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the training and the test archive."""
    if (SHARED / TRAIN).is_dir():
        return SHARED
    folder = tmp_path_factory.mktemp("speech")
    write_corpus(folder, seed=0, size=Size(12, 4, 4, 2, 2, 2))
    return folder


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory, archives: Path) -> Iterator[Federation]:
    params = {
        "source": "folder",
        "data_dir": str(archives / TRAIN),
        "test_dir": str(archives / TEST),
        "partition": "speaker",
    }
    with Federation(tmp_path_factory.mktemp("tutorial"), envoys=2, shard_params=params) as running:
        yield running


def test_words_of_ones_own(archives: Path, tmp_path: Path) -> None:
    """`labels:` in an envoy's config replaces the twelve classes, in model and notebook too."""
    words = ["yes", "no", "up", "down"]
    params = {
        "source": "folder",
        "data_dir": str(archives / TRAIN),
        "test_dir": str(archives / TEST),
        "labels": words,
    }
    with Federation(tmp_path / "nodes", envoys=1, shard_params=params) as running:
        run_notebook(running, archives, tmp_path / "run")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert np.asarray(summary["confusion"]).shape == (4, 4)
    assert summary["test_accuracy"] > 0.25
    model = AutoModelForAudioClassification.from_pretrained(tmp_path / "run" / "model")
    assert [model.config.id2label[i] for i in range(4)] == words


def run_notebook(federation: Federation, archives: Path, run_dir: Path, path: Path = NOTEBOOK) -> str:
    """Execute a notebook on `federation`, with one short round; returns its JSON, outputs included."""
    run_dir.mkdir()
    settings = {
        "ROUNDS": 1,
        "EPOCHS_PER_ROUND": 1,
        "DIRECTOR_PORT": federation.director_port,
        "AGGREGATOR_PORT": federation.aggregator_port,
        "RUN_DIR": os.path.relpath(run_dir, WORKSPACE),
        "TEST_DATA": os.path.relpath(archives / TEST, WORKSPACE),
        "ENVOY_CONFIG": os.path.relpath(federation.first_config, WORKSPACE),
        "VOICE_DIR": os.path.relpath(federation.nodes_dir / "my_voice", WORKSPACE),
    }
    known = notebook.settings_of(path)
    executed = run_dir / "notebook.ipynb"
    given = {name: value for name, value in settings.items() if name in known}
    notebook.execute(path, executed, WORKSPACE, given, watch=federation.check)
    outputs = executed.read_text(encoding="utf-8")
    assert '"output_type": "error"' not in outputs
    assert '"name": "stderr"' not in outputs
    assert str(ROOT) not in outputs, "a path of this machine is in the outputs"
    return outputs


def test_the_notebook_top_to_bottom(federation: Federation, archives: Path, tmp_path: Path) -> None:
    before = {path.name for path in WORKSPACE.iterdir()}
    outputs = run_notebook(federation, archives, tmp_path / "run")
    check_summary(json.loads((tmp_path / "run" / "summary.json").read_text()), tmp_path / "run")
    check_model(tmp_path / "run" / "model", next((archives / TEST / "yes").glob("*.wav")))
    assert "This notebook plays and scores " in outputs
    scores = [re.search(rf"{who}: +(\d.*?)\\n", outputs) for who in ("Pipeline", "Federation")]
    assert scores[0] and scores[1] and scores[0][1] == scores[1][1]

    # OpenFL litters the working directory with plans and pickles; there are none.
    assert {path.name for path in WORKSPACE.iterdir()} - before <= {"__pycache__"}


def test_tuning_and_strategies(federation: Federation, archives: Path, tmp_path: Path) -> None:
    outputs = run_notebook(federation, archives, tmp_path / "run", notebook_named("2_"))
    assert outputs.count("Best model, of round ") == 3
    assert "This notebook can read the owners' clips" in outputs
    # One of five owners sends noise: the text of the table has a row for each strategy.
    accuracy = {name: re.search(rf"\b{name} +(\S+)% +(\S+)% ", outputs) for name in ("mean", "median")}
    assert accuracy["mean"] and accuracy["median"]
    assert float(accuracy["median"][2]) > float(accuracy["mean"][2])


def test_baselines(federation: Federation, archives: Path, tmp_path: Path) -> None:
    outputs = run_notebook(federation, archives, tmp_path / "run", notebook_named("3_"))
    assert outputs.count("Best model, of round ") == 3
    assert len(re.findall(r" env_(?:one|two) +\S+% +\S+%", outputs)) == 2
    assert "Collecting all recordings gives" in outputs
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["baseline"]["model"] == "scratch"
    assert len(summary["baseline"]["rounds"]) == 1
    assert 0 < summary["baseline"]["test_accuracy"] <= 1


def test_differential_privacy(federation: Federation, archives: Path, tmp_path: Path) -> None:
    outputs = run_notebook(federation, archives, tmp_path / "run", notebook_named("4_"))
    assert ", epsilon " in outputs, "the private experiment does not tell what it has spent"
    (row,) = re.findall(r'" +0\.5 +(\S+) +(\S+)% +(\S+)% +(\S+)%', outputs)
    assert float(row[3]) > float(row[1]), "two hundred envoys bear more noise than two"


def test_your_own_voice(federation: Federation, archives: Path, tmp_path: Path) -> None:
    """Without a browser it is a synthetic voice, whose envoy joins, leaves, and gives no clip away."""
    outputs = run_notebook(federation, archives, tmp_path / "run", notebook_named("6_"))
    assert "The recorder is here when this notebook runs in JupyterLab." in outputs
    assert "vnd.jupyter.widget" not in outputs
    assert "Nothing is recorded: a synthetic voice that no other envoy has stands in" in outputs
    assert outputs.count("On your voice: ") == 2
    assert outputs.count(r"Online: env_one env_two\n") == 2  # before it came, and after it left
    mine = federation.nodes_dir / "my_voice"
    assert not left_below(mine), "the envoy outlived the notebook"
    check_nothing_left_the_folder(mine, federation, tmp_path / "run")


def check_nothing_left_the_folder(mine: Path, federation: Federation, run: Path) -> None:
    """No sample of a clip, and no name of one, is with the director or the other envoys, or in the run."""
    clips = sorted((mine / "synthetic").rglob("*.wav"))
    assert len(clips) == 51
    speaker = clips[-1].name[:8].encode()
    middles = [path.read_bytes()[16_000:16_064] for path in clips]
    elsewhere = [path for path in (*federation.nodes_dir.rglob("*"), *run.rglob("*")) if path.is_file()]
    others = [path for path in elsewhere if not path.is_relative_to(mine)]
    assert len(others) > 50
    for path in others:
        content = path.read_bytes()
        assert speaker not in content and not any(middle in content for middle in middles), path


def notebook_named(start: str) -> Path:
    (path,) = WORKSPACE.glob(f"{start}*.ipynb")
    return path


def check_summary(summary: dict, run_dir: Path) -> None:
    confusion = np.asarray(summary["confusion"])
    assert confusion.shape == (12, 12)
    assert confusion.sum() == summary["test_clips"]
    assert summary["test_accuracy"] == pytest.approx(confusion.trace() / confusion.sum())
    assert summary["test_accuracy"] > summary["initial_test_accuracy"] > 0
    assert (summary["model"], summary["partition"], summary["envoys"]) == ("tiny", "speaker", 2)
    (only,) = summary["rounds"]
    assert only["round"] == 1
    assert 0 < only["val_accuracy"] <= 1
    assert only["train_loss"] > 0
    assert only["seconds"] > 0
    size = trainable_layout(ModelSpec("tiny", SUPERB_LABELS).build())[-1].stop
    assert summary["bytes_up_per_envoy_round"] == 4 * size
    assert (summary["tuning"], summary["strategy"]) == ("full", "fedavg")
    assert (run_dir / "model" / "model.safetensors").is_file()


def check_model(folder: Path, clip: Path) -> None:
    """The saved model reloads, and the command line answers as the reloaded model does."""
    model = AutoModelForAudioClassification.from_pretrained(folder).eval()
    waveform, rate = soundfile.read(clip, dtype="float32")
    inputs = AutoFeatureExtractor.from_pretrained(folder)(waveform, sampling_rate=rate, return_tensors="pt")
    expected = model.config.id2label[int(model(**inputs).logits.argmax())]
    command = [sys.executable, "-m", "superb_notebook.classify", str(folder), str(clip)]
    printed = subprocess.run(command, cwd=WORKSPACE, capture_output=True, text=True, check=True).stdout
    assert printed.startswith(f"{clip}: {expected} ")
