"""From the microphone to the three scores: recorded in Chromium, and joined in a real federation."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo import notebook
from demo.federation import Federation
from speech_commands.synthetic.corpus import write_corpus
from speech_commands.synthetic.script import Size
from superb_node.envoy.personal import PERSONAL_FOLDER, load
from tests.demo.conftest import left_below
from tests.support.browser import chromium
from tests.support.recorder_page import (
    ALLOWED,
    DEVICE,
    TAKES,
    WORKSPACE,
    RecorderPage,
    beeping_microphone,
    lab_with_recorder,
)

pytest.importorskip("anywidget", reason="no anywidget: pip install anywidget")
pytestmark = [pytest.mark.federation, pytest.mark.notebook, pytest.mark.slow, pytest.mark.timeout(1200)]

WORDS = ("yes", "no")
LABELS = (*WORDS, "_silence_")
SCORE = r"\S+% \((\d+) of (\d+) clips\)"


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[Federation]:
    """A director and one other envoy."""
    write_corpus(tmp_path / "speech", seed=0, size=Size(12, 4, 4, 2, 2, 2))
    params = {
        "source": "folder",
        "data_dir": str(tmp_path / "speech" / "speech_commands_v0.01"),
        "test_dir": str(tmp_path / "speech" / "speech_commands_test_set_v0.01"),
        "labels": list(LABELS),
    }
    with Federation(tmp_path / "run", envoys=1, shard_params=params) as running:
        yield running


def test_recorded_in_the_browser_joined_and_scored(federation: Federation, tmp_path: Path) -> None:
    mine = federation.nodes_dir / "my_voice"
    record_all(mine, tmp_path / "browser")
    outputs = run_the_notebook(federation, mine, tmp_path / "notebook.ipynb")
    assert f"Your voice: {len(WORDS) * TAKES + 1} recordings in " in outputs
    before, after = re.findall(rf"On your voice: {SCORE}", outputs)
    (personal,) = re.findall(rf"Your personal model: {SCORE}", outputs)
    # Of the three takes of each word one is for the test, and a third of the room's seconds.
    clips = {int(clips) for _, clips in (before, after, personal)}
    assert len(clips) == 1 and clips.pop() > len(WORDS)
    assert all(0 <= int(correct) <= int(clips) for correct, clips in (before, after, personal))
    check_the_personal_model(mine, kept="Kept: yes" in outputs)
    assert not left_below(mine), "the envoy outlived the notebook"


def record_all(mine: Path, folder: Path) -> None:
    """Say everything that the recorder asks for, in the order in which it asks."""
    folder.mkdir()
    with (
        lab_with_recorder(folder, str(mine), LABELS) as address,
        chromium(DEVICE, ALLOWED, beeping_microphone(folder)) as browser,
    ):
        page = RecorderPage(browser, address)
        for take in range(1, TAKES + 1):
            for word in (*WORDS, *(["room"] if take == 1 else [])):
                page.record(word, take, of=1 if word == "room" else TAKES)
        page.wait_for("kept")
        assert page.seen.locator(".ask").text_content() == "All is recorded"
        assert page.notebook.trouble() == page.outside == []


def run_the_notebook(federation: Federation, mine: Path, executed: Path) -> str:
    """Run notebook 6 on the recorded folder; returns its JSON, outputs included."""
    settings = {
        "ROUNDS": 1,
        "TAKES": TAKES,
        "DIRECTOR_PORT": federation.director_port,
        "AGGREGATOR_PORT": federation.aggregator_port,
        "VOICE_DIR": os.path.relpath(mine, WORKSPACE),
    }
    path = WORKSPACE / "6_your_own_voice.ipynb"
    notebook.execute(path, executed, WORKSPACE, settings, watch=federation.check)
    outputs = executed.read_text(encoding="utf-8")
    assert '"output_type": "error"' not in outputs
    assert outputs.count(r"Online: env_one\n") == 2  # before it came, and after it left
    return outputs


def check_the_personal_model(mine: Path, kept: bool) -> None:
    """It is in the owner's folder and in no other, if it is kept."""
    models = list((mine / PERSONAL_FOLDER).rglob("*.npz"))
    assert models == list(mine.rglob("*.npz")) and len(models) == int(kept)
    for model in models:
        assert model.parent == mine / PERSONAL_FOLDER / "my_voice"
        assert load(model)[0].settings.personalise
