"""The quick failure drills. All of them: python -m benchmarks.drills"""

from collections.abc import Iterator

import pytest

from benchmarks.drill import DRILLS, Drill
from benchmarks.drills import ENVOYS
from tests.support.lab import Lab

pytestmark = pytest.mark.federation


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Start as many envoys as the drills are meant for: one that dies has others before and behind it."""
    with Lab(tmp_path_factory.mktemp("drills"), envoys=ENVOYS) as lab:
        lab.heal()
        yield lab


@pytest.mark.parametrize("drill", [drill for drill in DRILLS if drill.quick], ids=lambda drill: drill.name)
def test_drill(three: Lab, drill: Drill) -> None:
    try:
        drill.run(three)
    finally:
        if any(process.exit_code() is not None for process in three.processes.values()):
            three.heal()
