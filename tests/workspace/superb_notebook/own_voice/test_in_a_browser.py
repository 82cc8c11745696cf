"""The recorder in JupyterLab and a real Chromium, whose microphone plays a file.

What was seen is in build/browser/ afterwards.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from superb_node.labels import KEYWORDS
from tests.support.browser import chromium, sync_api
from tests.support.lab import wait_until
from tests.support.recorder_page import (
    ALLOWED,
    CELL,
    DEVICE,
    NAME,
    PITCH,
    RecorderPage,
    beeping_microphone,
    lab_with_recorder,
)

pytest.importorskip("anywidget", reason="no anywidget: pip install anywidget")
pytestmark = [pytest.mark.notebook, pytest.mark.slow, pytest.mark.timeout(600)]

# What a browser says by which name, and the words that the page has for it.
TOLD = {
    "NotAllowedError": "No microphone: this page may not use it. Allow it next to the browser's address bar",
    "SecurityError": "No microphone: this page may not use it. Allow it next to the browser's address bar",
    "NotFoundError": "No microphone: there is none at this computer. Plug one in",
    "OverconstrainedError": "No microphone: there is none at this computer. Plug one in",
    "NotReadableError": "No microphone: another program holds it, or it has failed. Close that program",
    "AbortError": "No microphone: another program holds it, or it has failed. Close that program",
    "DataError": "The recording failed (DataError: told by the test). Load the page again",
}
REFUSE = """name => {
  navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("told by the test", name));
}"""
# The real microphone again, of which the test keeps what was opened.
KEEP = """() => {
  window.opened = [];
  navigator.mediaDevices.getUserMedia = async (wanted) => {
    const stream = await MediaDevices.prototype.getUserMedia.call(navigator.mediaDevices, wanted);
    window.opened.push(stream);
    return stream;
  };
}"""
ALL_STOPPED = """() => {
  const tracks = opened.flatMap((stream) => stream.getTracks());
  return tracks.length > 0 && tracks.every(({ readyState }) => readyState === "ended");
}"""
BREAK_WORKLETS = """() => {
  window.addModule = AudioWorklet.prototype.addModule;
  AudioWorklet.prototype.addModule = () => Promise.reject(new DOMException("no module", "AbortError"));
}"""
MEND_WORKLETS = "() => { AudioWorklet.prototype.addModule = window.addModule; }"
UNPLUG = "() => { opened.at(-1).getTracks()[0].dispatchEvent(new Event('ended')); }"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[str]:
    """Where JupyterLab shows a notebook with the recorder."""
    with lab_with_recorder(tmp_path) as address:
        yield address


@pytest.fixture
def microphone(tmp_path: Path) -> str:
    return beeping_microphone(tmp_path)


def test_words_are_recorded_listened_to_and_deleted(lab: str, microphone: str, tmp_path: Path) -> None:
    clips = tmp_path / "lab" / "envoy_voice" / "clips"
    with chromium(DEVICE, ALLOWED, microphone) as browser:
        page = RecorderPage(browser, lab)
        page.record("yes", 1)
        page.notebook.picture("recorder-1-recording")
        page.record("no", 1)
        page.record("up", 1)
        page.press("Listen", "no", 1)
        assert page.listened() == pytest.approx(1.0, abs=0.01)
        heard = sorted(path.parent.name for path in clips.glob("*/*.wav"))
        assert heard == ["no", "up", "yes"]
        for path in clips.glob("*/*.wav"):
            check_clip(path)

        page.press("Delete", "up", 1)
        page.wait_for("up, take 1: deleted")
        assert sorted(path.parent.name for path in clips.glob("*/*.wav")) == ["no", "yes"]
        page.notebook.picture("recorder-2-deleted")
        assert page.notebook.trouble() == page.outside == []

        page.notebook.choose("File", "Save Notebook")
        saved = tmp_path / "lab" / NAME
        wait_until(lambda: 'execution_count": 1' in saved.read_text(), 60)
        assert base64.b64encode(b"RIFF").decode()[:5] not in saved.read_text()


def check_clip(path: Path) -> None:
    """A second of what the microphone played, at its own pitch."""
    samples, rate = soundfile.read(path, dtype="float64")
    header = soundfile.info(path)
    assert (rate, header.channels, header.subtype, samples.shape) == (16_000, 1, "PCM_16", (16_000,))
    assert 0.2 < np.abs(samples).max() < 0.5
    assert np.argmax(np.abs(np.fft.rfft(samples))) == pytest.approx(PITCH, abs=3)
    quiet = np.sort(np.abs(samples))[: len(samples) // 3]
    assert quiet.max() < 0.02, "there is no pause in it"


def test_the_room_completes_the_recordings(lab: str, microphone: str, tmp_path: Path) -> None:
    """The last thing that is missing: ten seconds of it, and the microphone is let go."""
    clips = tmp_path / "lab" / "envoy_voice" / "clips"
    for word in KEYWORDS:
        for take in range(3):
            path = clips / word / f"0123abcd_nohash_{take}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, np.zeros(16_000), 16_000, subtype="PCM_16")
    with chromium(DEVICE, ALLOWED, microphone) as browser:
        page = RecorderPage(browser, lab)
        sync_api.expect(page.seen.locator(".word")).to_have_text("nothing")
        page.run(KEEP)
        page.record("room", 1, of=1)
        sync_api.expect(page.seen.locator(".ask")).to_have_text("All is recorded")
        assert page.run(ALL_STOPPED)
        assert soundfile.info(clips / "_background_noise_" / "room.wav").duration == 10
        page.notebook.picture("recorder-3-complete")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [([], TOLD["NotFoundError"]), ([DEVICE], TOLD["NotAllowedError"])],
    ids=["none", "refused"],
)
def test_without_a_microphone_it_says_so(lab: str, arguments: list[str], why: str) -> None:
    with chromium(*arguments) as browser:
        page = RecorderPage(browser, lab)
        if arguments:
            page.button.click()
        page.wait_for(why)
        page.wait_for("Without a recording, the cells below use a synthetic voice.")
        sync_api.expect(page.button).to_be_enabled()
        page.notebook.picture(f"recorder-4-{len(arguments)}")


def test_each_failure_has_its_sentence_and_the_microphone_is_let_go(lab: str, microphone: str) -> None:
    with chromium(DEVICE, ALLOWED, microphone) as browser:
        page = RecorderPage(browser, lab)
        for name, words in TOLD.items():
            page.notebook.page.evaluate(REFUSE, name)
            page.button.click()
            page.wait_for(words)
            sync_api.expect(page.button).to_be_enabled()

        page.run(KEEP)
        page.run(BREAK_WORKLETS)
        page.button.click()
        page.wait_for("No recording: this browser does not start its audio worklet. Load the page again")
        assert page.run(ALL_STOPPED), "the browser shows that it records"
        page.notebook.picture("recorder-5-worklet")

        page.run(MEND_WORKLETS)
        page.button.click()
        page.wait_for("Say “yes” now")
        page.run(UNPLUG)
        page.wait_for("The microphone went away. Plug it in again, then record again.")
        assert page.run(ALL_STOPPED)
        page.record("yes", 1)
        assert not page.run(ALL_STOPPED), "it stays open for the next word"
        assert page.notebook.trouble() == []


def test_after_a_restart_of_the_kernel_the_recorder_says_so(lab: str, microphone: str) -> None:
    with chromium(DEVICE, ALLOWED, microphone) as browser:
        page = RecorderPage(browser, lab)
        page.run(KEEP)
        page.record("yes", 1)
        page.notebook.restart("Restart Kernel…")
        page.wait_for(
            "The kernel was restarted, and this recorder belongs to the old one: run this cell again."
        )
        sync_api.expect(page.button).to_be_disabled()
        assert page.run(ALL_STOPPED)
        page.notebook.picture("recorder-6-restarted")
        page.notebook.wait_for_kernel()
        page.notebook.select(CELL)
        page.notebook.choose("Run", "Run Selected Cell")
        page.wait_for("The browser will ask for the microphone.")
        page.record("no", 1)
        assert page.notebook.trouble() == []


def test_a_page_from_another_machine_without_https_says_what_helps(tmp_path: Path) -> None:
    config = tmp_path / "jupyter" / "config"
    config.mkdir(parents=True)
    allowed = {"ServerApp": {"allow_remote_access": True}}
    (config / "jupyter_server_config.json").write_text(json.dumps(allowed))
    with (
        lab_with_recorder(tmp_path) as address,
        chromium(DEVICE, ALLOWED, "--host-resolver-rules=MAP gpu1.example 127.0.0.1") as browser,
    ):
        page = RecorderPage(browser, address.replace("localhost", "gpu1.example"))
        page.wait_for(
            "No microphone: browsers give it to pages from localhost or by https only. Open JupyterLab"
        )
        page.wait_for("“ssh -L 8888:localhost:8888 HOST”")
        page.button.click()
        page.wait_for(
            "No microphone: browsers give it to pages from localhost or by https only. Open JupyterLab"
        )
        page.notebook.picture("recorder-7-insecure")
