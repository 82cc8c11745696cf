"""The kernel's side of the recorder: what the page may ask for, and what it is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("anywidget", reason="no anywidget: pip install anywidget")

from superb_node.labels import LABELS
from superb_notebook.own_voice.folder import VoiceFolder
from superb_notebook.own_voice.recorder import Recorder
from tests.workspace.superb_notebook.own_voice.test_sound import heard, pcm


class Page:
    """Asks a recorder as the page does, and keeps what it is told."""

    def __init__(self, folder: VoiceFolder) -> None:
        self.recorder = Recorder(folder)
        self.told: list[tuple[dict[str, Any], list[bytes]]] = []
        self.recorder.send = lambda content, buffers=(): self.told.append((content, list(buffers)))

    def ask(self, *buffers: bytes, **asked: Any) -> dict[str, Any]:
        self.recorder._handle_custom_msg(asked, [memoryview(each) for each in buffers])
        return self.told[-1][0]


@pytest.fixture
def page(tmp_path: Path) -> Page:
    return Page(VoiceFolder(tmp_path / "clips", LABELS, takes=3))


def test_a_word_is_kept_listened_to_and_deleted(page: Page, tmp_path: Path) -> None:
    said = page.ask(pcm(heard(0.5)), kind="keep", word="yes")
    assert said == {"kind": "said", "text": "yes, 1 of 3: kept", "good": True, "next": True}
    assert page.recorder.takes["yes"] == [0]
    (clip,) = (tmp_path / "clips" / "yes").glob("*.wav")
    assert page.ask(kind="play", word="yes", take=0)["text"] == "yes, take 1"
    assert page.told[-2] == ({"kind": "play"}, [clip.read_bytes()])
    assert page.ask(kind="delete", word="yes", take=0)["text"] == "yes, take 1: deleted"
    assert page.recorder.takes["yes"] == []
    assert not clip.exists()


def test_what_is_no_word_is_not_kept(page: Page, tmp_path: Path) -> None:
    said = page.ask(pcm(heard(0.5, 0.0)), kind="keep", word="no")
    assert said == {
        "kind": "said",
        "text": "no is not kept: no word was heard. Say it again, louder or nearer to the microphone",
        "good": False,
        "next": False,
    }
    assert not (tmp_path / "clips").exists()


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"kind": "keep", "word": "../bed"}, "'../bed' is not asked for; legal: yes, no, "),
        ({"kind": "delete", "word": "yes", "take": "/../../x"}, "yes has no such take any more"),
        ({"kind": "play", "word": "yes", "take": 1}, "yes has no such take any more"),
        ({"kind": "play", "word": "yes"}, "the page and the notebook do not understand each other"),
        ({}, "the page and the notebook do not understand each other"),
    ],
)
def test_what_the_page_may_not_ask_for_is_told_in_a_line(
    page: Page, asked: dict[str, Any], text: str
) -> None:
    said = page.ask(pcm(heard(0.5)), **asked)
    assert text in said["text"] and not said["good"]


def test_no_recording_is_in_the_state_that_a_notebook_may_keep(page: Page) -> None:
    page.ask(pcm(heard(0.5)), kind="keep", word="yes")
    state = page.recorder.get_state()
    assert {"words", "takes"} < set(state)
    assert not [name for name, value in state.items() if isinstance(value, bytes | memoryview)]
    assert len(str(state["words"])) + len(str(state["takes"])) < 2_000


def test_a_page_without_the_recorder_says_where_it_is(page: Page) -> None:
    bundle = page.recorder._repr_mimebundle_()
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    assert data["text/plain"] == "The recorder is here when this notebook runs in JupyterLab."


def test_the_page_loads_nothing() -> None:
    folder = Path(Recorder.__module__.replace(".", "/")).parent
    root = Path(__file__).resolve().parents[4] / "workspace" / folder
    for name in ("microphone.js", "recorder.js", "recorder.css"):
        text = (root / name).read_text(encoding="utf-8")
        assert "http" not in text.replace("https only", "") and "import" not in text and "@import" not in text
