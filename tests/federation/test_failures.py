"""The quick failure drills. All of them: python -m tests.drills"""

from typing import Any

import pytest

from tests.drills.drill import DRILLS, Drill
from tests.support.lab import Lab

pytestmark = pytest.mark.federation


# They wait a cut-off out, as "envoy killed in a round" does already.
SLOW = ("fewer envoys than the minimum left", "slow envoy with a cut-off")


def marked(drill: Drill) -> Any:
    return pytest.param(drill, marks=[pytest.mark.slow] * (drill.name in SLOW), id=drill.name)


@pytest.mark.parametrize("drill", [marked(drill) for drill in DRILLS if drill.quick])
def test_a_drill_ends_as_it_says(trio: Lab, drill: Drill) -> None:
    try:
        drill.run(trio)
    finally:
        if any(process.exit_code() is not None for process in trio.processes.values()):
            trio.heal()
