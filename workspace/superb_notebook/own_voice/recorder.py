"""The recorder that a notebook shows: it asks for one word after another and keeps what was said.

What the browser records goes to the kernel, and from there into the voice's folder. No recording is part of
the widget's state, which JupyterLab may save with the notebook.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from superb_node.errors import ToldError
from superb_notebook.own_voice.folder import ROOM, VoiceError, VoiceFolder
from superb_notebook.own_voice.sound import ROOM_SECONDS, WORD_SECONDS, room_in, word_in

_HERE = Path(__file__).parent
_PAGE = "".join((_HERE / name).read_text(encoding="utf-8") for name in ("microphone.js", "recorder.js"))


class Recorder(anywidget.AnyWidget):
    """Asks for the words of a voice's folder.

    Args:
        folder: receives the recordings.

    Attributes:
        words: what is asked for, each with the seconds that it is listened for and the takes that are wanted.
        takes: those that are there, by word.
    """

    _esm = _PAGE
    _css = _HERE / "recorder.css"
    words: traitlets.List[Any] = traitlets.List().tag(sync=True)
    takes = traitlets.Dict().tag(sync=True)

    def __init__(self, folder: VoiceFolder) -> None:
        super().__init__()
        self._folder = folder
        self.words = [
            {
                "word": word,
                "seconds": ROOM_SECONDS if word == ROOM else WORD_SECONDS,
                "wanted": folder.wanted(word),
            }
            for word in folder.words
        ]
        self._show_takes()
        self.on_msg(self._answer)

    def __repr__(self) -> str:
        """Return what stands where a page cannot show the recorder."""
        return "The recorder is here when this notebook runs in JupyterLab."

    def _repr_mimebundle_(self, **_: Any) -> Any:
        bundle = super()._repr_mimebundle_()
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        return data and {**data, "text/plain": repr(self)}

    def _show_takes(self) -> None:
        self.takes = {word: self._folder.takes_of(word) for word in self._folder.words}

    def _answer(self, _: Any, asked: Any, buffers: Sequence[memoryview]) -> None:
        """Do what the page asks for, and tell it in one line what was done."""
        good, kept = True, False
        try:
            said = self._carry_out(asked, buffers)
            kept = asked["kind"] == "keep"
        except ToldError as error:
            said, good = str(error), False
        except (KeyError, TypeError, IndexError):
            said, good = "the page and the notebook do not understand each other: load the page again", False
        self._show_takes()
        self.send({"kind": "said", "text": said, "good": good, "next": kept})

    def _carry_out(self, asked: Mapping[str, Any], buffers: Sequence[memoryview]) -> str:
        word, folder = asked["word"], self._folder
        if asked["kind"] == "keep":
            return self._keep(word, bytes(buffers[0]))
        take = asked["take"]
        if take not in folder.takes_of(word):
            raise VoiceError(f"{word} has no such take any more")
        if asked["kind"] == "delete":
            folder.delete(word, take)
            return f"{word}, take {take + 1}: deleted"
        try:
            wav = folder.path(word, take).read_bytes()
        except OSError as error:
            raise VoiceError(f"{word}, take {take + 1}: cannot be read ({error.strerror})") from error
        self.send({"kind": "play"}, [wav])
        return f"{word}, take {take + 1}"

    def _keep(self, word: str, pcm: bytes) -> str:
        try:
            samples = room_in(pcm) if word == ROOM else word_in(pcm)
        except ToldError as error:
            raise VoiceError(f"{word} is not kept: {error}") from error
        take = self._folder.keep(word, samples)
        return f"{word}, {take + 1} of {self._folder.wanted(word)}: kept"
