"""A federation across hosts: network namespaces, mutual TLS, one slow link, one that is cut and mended."""

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hosts_lab import DIRECTOR, NOTEBOOK, HostsLab
from tests.support.lab import at
from tests.support.network import Network, why_not
from tests.support.sine_experiment import Script, ballast_after

pytestmark = [pytest.mark.federation, pytest.mark.slow, pytest.mark.timeout(900)]
SLOW, CUT = "env_two", "env_three"
DELAY_SECONDS, LOSS = 0.08, 0.01  # in each direction
CUT_SECONDS = 20.0
# With two seconds of training a round, the last ones begin long after the link was mended.
ROUNDS, CUT_ROUND, TRAINING_SECONDS = 12, 2, 2.0


@pytest.fixture(scope="module", autouse=True)
def _permitted() -> None:
    reason = why_not()
    if reason:
        pytest.skip(reason)


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[HostsLab]:
    names = [DIRECTOR, NOTEBOOK, "env_one", SLOW, CUT]
    network = Network(names, slow={SLOW: (DELAY_SECONDS, LOSS)})
    with network, HostsLab(tmp_path, network, ready_seconds=600) as lab:
        yield lab
    left = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert network.prefix not in left


def test_a_slow_link_and_one_that_is_cut_in_mid_round(hosts: HostsLab) -> None:
    """The cut envoy sends no heartbeat for longer than 15 s: it is dropped, and comes back by itself."""
    mended = threading.Event()

    def mend() -> None:
        hosts.network.mend(CUT)
        mended.set()

    def cut() -> None:
        hosts.network.cut(CUT)
        threading.Timer(CUT_SECONDS, mend).start()

    outcome = hosts.run_on_hosts(
        Script(seconds=dict.fromkeys(hosts.ranks, TRAINING_SECONDS)),
        (at(CUT_ROUND, CUT, "validate"), cut),
        seconds=600,
        rounds=ROUNDS,
    )
    told = "\n".join(outcome.text(task) for task in ("dropped", "returned", "late", "round"))
    assert outcome.status == "finished", f"{outcome.error}\n{told}"
    assert mended.is_set(), told
    (dropped,), (returned,) = outcome.of("dropped"), outcome.of("returned")
    assert (dropped["round"], dropped["metric_origin"]) == (CUT_ROUND, CUT)
    assert dropped["metric_name"].startswith("no heartbeat for 1"), told
    assert returned["metric_origin"] == CUT
    back = returned["round"]
    # Delay and loss cost time, and no round; the others went on without the one that was cut.
    assert outcome.rounds("train", "env_one") == outcome.rounds("train", SLOW) == list(range(ROUNDS))
    with_all = [*range(CUT_ROUND), *range(back, ROUNDS)]
    assert outcome.rounds("train", CUT) == with_all, told
    assert outcome.rounds("test_best", CUT), "it is there at the end"
    expected = ballast_after([1, 2, 3] if number in with_all else [1, 2] for number in range(ROUNDS))
    assert outcome.ballast == pytest.approx(expected, rel=1e-5)
    for name in hosts.processes:
        assert "Traceback" not in hosts.log(name), hosts.log(name)
