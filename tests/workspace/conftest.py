"""Gives the notebook's tests the package's small models and clips, and a model that knows a tone."""

from pathlib import Path

import pytest

from tests.superb_ks.conftest import (  # noqa: F401
    base_folder,
    cache,
    global_seeds_untouched,
    hubert_folder,
    large_folder,
    offline,
    tone_clips,
    wavlm_folder,
)
from tests.workspace.tones import save_tone_model


@pytest.fixture(scope="session")
def tone_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a model that calls a tone "yes" and soft noise silence."""
    folder = tmp_path_factory.mktemp("tone")
    save_tone_model(folder)
    return folder
