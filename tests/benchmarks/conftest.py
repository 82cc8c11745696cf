"""A corpus small enough to be trained on in seconds, for benchmarks that train."""

from __future__ import annotations

from pathlib import Path

import pytest

from speech_commands.synthetic.corpus import write_corpus
from speech_commands.synthetic.script import Size
from tests.speech_commands.conftest import archives, write_wav  # noqa: F401 (fixtures)
from tests.superb_ks.conftest import openfl_put_back  # noqa: F401 (fixture)


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Training archive of a few synthetic speakers, with the test archive next to it."""
    folder = tmp_path_factory.mktemp("speech")
    write_corpus(folder, seed=0, size=Size(6, 4, 4, 1, 1, 1))
    return folder / "speech_commands_v0.01"
