"""Gives the notebook's tests the small models and clips of the package's own."""

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
