"""The quick failure drills, on a federation of two envoys. All of them: python -m benchmarks.drills"""

import pytest

from benchmarks import drill_director, drill_envoys, drill_notebook, drill_services  # noqa: F401
from benchmarks.drill import DRILLS, Drill
from tests.support.lab import Lab

pytestmark = pytest.mark.federation


@pytest.mark.parametrize("drill", [drill for drill in DRILLS if drill.quick], ids=lambda drill: drill.name)
def test_drill(lab: Lab, drill: Drill) -> None:
    try:
        drill.run(lab)
    finally:
        if any(process.exit_code() is not None for process in lab.processes.values()):
            lab.heal()
