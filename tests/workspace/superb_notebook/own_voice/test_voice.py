"""Whose voice it is: recorded, synthetic, or neither."""

from __future__ import annotations

import filecmp
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speech_commands.synthetic.one_voice import VOICE
from speech_commands.synthetic.voices import VARIANTS
from superb_ks.model.spec import ModelSpec
from superb_node.labels import LABELS
from superb_notebook.own_voice.folder import VoiceError
from superb_notebook.own_voice.voice import chosen_voice, recorder, voice_folder
from tests.workspace.superb_notebook.own_voice.test_folder import filled, sound

ENVOY = Path(__file__).resolve().parents[4] / "envoy"


def test_without_a_recording_a_voice_speaks_that_no_envoy_has(tmp_path: Path) -> None:
    voice = chosen_voice(voice_folder(str(tmp_path / "mine"), LABELS, takes=3))
    assert voice.is_synthetic
    assert str(voice).startswith("Nothing is recorded: a synthetic voice that no other envoy has")
    assert voice.folder.missing == ""
    assert VOICE.variant not in {name for names in VARIANTS.values() for name in names}
    clips = voice.test_clips(ModelSpec("scratch", LABELS).feature_extractor())
    assert len(clips) == 11  # one of the three takes of each word, and silence
    assert all(np.abs(clips.clip(number)[0]).max() > 0.05 for number in range(10))
    assert soundfile.info(voice.folder.path("room", 0)).duration == 10
    assert voice.folder.root.stat().st_mode & 0o077 == 0


def test_it_speaks_the_same_clips_each_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        command = [sys.executable, "-m", "speech_commands.synthetic.one_voice", "--takes", "1"]
        subprocess.run([*command, str(tmp_path / name), "yes", "no", "room"], cwd=ENVOY, check=True)
    names = [str(path.relative_to(tmp_path / "one")) for path in (tmp_path / "one").rglob("*.wav")]
    assert len(names) == 3
    assert filecmp.cmpfiles(tmp_path / "one", tmp_path / "two", names, shallow=False) == (names, [], [])


def test_recordings_are_taken_when_all_are_there(tmp_path: Path) -> None:
    recordings = voice_folder(str(tmp_path / "mine"), LABELS, takes=3)
    recordings.keep("yes", sound())
    with pytest.raises(VoiceError, match="still to be recorded above: yes 2×, no 3×, .*, room 1×. Then run"):
        chosen_voice(recordings)
    filled(tmp_path / "mine2" / "clips", 3)
    voice = chosen_voice(voice_folder(str(tmp_path / "mine2"), LABELS, takes=3))
    assert not voice.is_synthetic
    assert str(voice) == f"Your voice: 31 recordings in {os.path.relpath(tmp_path / 'mine2' / 'clips')}"


def test_words_of_which_the_synthesiser_knows_nothing_are_spoken_too(tmp_path: Path) -> None:
    voice = chosen_voice(voice_folder(str(tmp_path / "mine"), ("ja", "nein"), takes=3))
    assert voice.folder.words == ("ja", "nein")
    spec = ModelSpec("scratch", ("ja", "nein"))
    assert voice.score(spec.build(), spec.feature_extractor()).clips == 2


def test_without_anywidget_the_notebook_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "anywidget", None)
    monkeypatch.delitem(sys.modules, "superb_notebook.own_voice.recorder", raising=False)
    assert recorder(voice_folder(str(tmp_path), LABELS)) is None
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(
        f"No recorder: anywidget is missing. In a terminal: {sys.executable} -m pip install anywidget"
    )


@pytest.mark.parametrize("age", [3600.0, -3600.0])
def test_an_anywidget_that_is_newer_than_the_kernel_asks_for_a_new_page(tmp_path: Path, age: float) -> None:
    anywidget = pytest.importorskip("anywidget", reason="no anywidget: pip install anywidget")
    site = tmp_path / "site"
    about = site / f"anywidget-{anywidget.__version__}.dist-info"
    about.mkdir(parents=True)
    (site / "anywidget").symlink_to(Path(anywidget.__file__).parent)
    (about / "METADATA").write_text(f"Name: anywidget\nVersion: {anywidget.__version__}\n")
    (about / "RECORD").touch()
    os.utime(about / "RECORD", (time.time() - age,) * 2)
    source = (
        "from superb_notebook.own_voice.voice import recorder, voice_folder\n"
        f"print(recorder(voice_folder({str(tmp_path / 'mine')!r}, ('yes', 'no'))))"
    )
    path = os.pathsep.join([str(site), str(ENVOY.parent / "workspace")])
    done = subprocess.run(
        [sys.executable, "-c", source], env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    *said, shown = done.stdout.splitlines()
    assert shown == "The recorder is here when this notebook runs in JupyterLab."
    asks = [line.startswith("anywidget was installed while this notebook was open.") for line in said]
    assert asks == ([True] if age < 0 else [])
