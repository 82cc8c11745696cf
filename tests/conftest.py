"""What two workers side by side may share, and what not: `make test` runs the tests so."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

IS_WORKER = "PYTEST_XDIST_WORKER" in os.environ
ROOT = Path(__file__).resolve().parents[1]
# A test that takes one of the federations which several files use; each is started in one worker only.
SHARED_FEDERATION = re.compile(r"def test_[^)]*\b(lab|trio): Lab\b")

if IS_WORKER:
    # Read when torch is loaded. Otherwise each worker takes all the cores, and they wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give the tests of a file to one worker, and those of all files that use the same federation."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFederation(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return scope_of(nodeid.partition("::")[0])

    config.option.loadscopereorder = False  # the order is that of `pytest_collection_modifyitems`
    return ByFederation(config, log)


def scope_of(file: str) -> str:
    """Return the name of the federation that a file shares with others, or the file."""
    shared = SHARED_FEDERATION.search((ROOT / file).read_text(encoding="utf-8"))
    return shared[1] if shared else file


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with what starts processes: what takes long and comes last leaves a worker without work."""
    if IS_WORKER:
        items.sort(key=lambda item: item.get_closest_marker("federation") is None)
