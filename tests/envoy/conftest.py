"""Makes the envoy's own modules importable, as its start script does."""

import sys
from pathlib import Path

import pytest

ENVOY = Path(__file__).resolve().parents[2] / "envoy"
if str(ENVOY) not in sys.path:
    sys.path.insert(0, str(ENVOY))


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep tests out of the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("SUPERB_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def envoy_dir() -> Path:
    """The folder that the envoy runs in."""
    return ENVOY
