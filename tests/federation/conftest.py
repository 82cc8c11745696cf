"""One federation of a director and two envoys on sine waves, started by their scripts, for all tests here."""

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.lab import Lab


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder: Path = tmp_path_factory.mktemp("federation")
    with Lab(folder, envoys=2) as lab:
        lab.heal()
        yield lab
    assert not [
        p for p in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(p.info["cmdline"] or [])
    ]
