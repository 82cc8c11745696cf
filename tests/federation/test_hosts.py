"""A federation across hosts: network namespaces, one slow link, one that is cut in mid-round and mended."""

import threading
import time
from pathlib import Path

import pytest

from tests.support.hosts_lab import DIRECTOR, NOTEBOOK, HostsLab
from tests.support.lab import at
from tests.support.network import Network, why_not
from tests.support.sine_experiment import Script, ballast_after

pytestmark = pytest.mark.federation
SLOW, CUT = "env_two", "env_three"
DELAY_SECONDS, LOSS = 0.08, 0.01  # in each direction
CUT_SECONDS = 20.0
ROUNDS, CUT_ROUND = 12, 2


@pytest.fixture(scope="module", autouse=True)
def _permitted() -> None:
    reason = why_not()
    if reason:
        pytest.skip(reason)


def test_a_slow_link_and_one_that_is_cut_for_20_s(tmp_path: Path) -> None:
    mended: list[float] = []

    def mend() -> None:
        network.mend(CUT)
        mended.append(time.monotonic())

    def cut() -> None:
        network.cut(CUT)
        threading.Timer(CUT_SECONDS, mend).start()

    hosts = [DIRECTOR, NOTEBOOK, "env_one", SLOW, CUT]
    with Network(hosts, slow={SLOW: (DELAY_SECONDS, LOSS)}) as network, HostsLab(tmp_path, network) as lab:
        outcome = lab.run_on_hosts(
            Script(seconds=dict.fromkeys(lab.ranks, 2.0)),
            (at(CUT_ROUND, CUT, "validate"), cut),
            seconds=200,
            rounds=ROUNDS,
        )
        logs = {name: lab.log(name) for name in lab.processes}
    print(outcome.text("dropped"), outcome.text("returned"), outcome.text("late"))
    print([ (r["round"], round(r["metric_value"],2)) for r in outcome.of("round")])
    assert outcome.status == "finished", outcome.error
