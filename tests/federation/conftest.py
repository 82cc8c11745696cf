"""Federations on sine waves, started by their own scripts, each for all the tests that use it."""

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.drills.run import ENVOYS
from tests.support.lab import Lab


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Two envoys."""
    yield from federation(tmp_path_factory.mktemp("lab"), envoys=2)


@pytest.fixture(scope="session")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Three envoys: one that dies has others before and behind it."""
    yield from federation(tmp_path_factory.mktemp("trio"), envoys=ENVOYS)


def federation(folder: Path, envoys: int) -> Iterator[Lab]:
    """Run one, warmed up; nothing of it is left at the end."""
    with Lab(folder, envoys=envoys) as lab:
        lab.heal()
        yield lab
    assert not [
        p for p in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(p.info["cmdline"] or [])
    ]
