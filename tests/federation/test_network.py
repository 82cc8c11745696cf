"""The network that the federation across hosts runs on is slow, lossy and cut as it says, and goes again."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.lab import ROOT, wait_until
from tests.support.network import Network, why_not

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
DELAY_SECONDS, LOSS, DATAGRAMS = 0.08, 0.05, 2000
ECHO = """
import socket
line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
line.bind(("", 7))
print("ready", flush=True)
while True:
    line.sendto(*line.recvfrom(100))
"""
# Sends numbered datagrams to an address and prints how many came back, and the least time there and back.
PING = """
import select, socket, sys, time
address, count, patience = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sent, times = {}, []
def receive(wait):
    while select.select([line], [], [], wait)[0]:
        number = int(line.recv(100))
        times.append(time.monotonic() - sent[number])
for number in range(count):
    sent[number] = time.monotonic()
    line.sendto(str(number).encode(), (address, 7))
    receive(0.002)
receive(patience)
print(len(times), min(times, default=0.0))
"""


@pytest.fixture(scope="module", autouse=True)
def _permitted() -> None:
    reason = why_not()
    if reason:
        pytest.skip(reason)


@pytest.fixture
def network() -> Iterator[Network]:
    with Network(["near", "plain", "slow"], slow={"slow": (DELAY_SECONDS, LOSS)}) as network:
        for host in ("plain", "slow"):
            echo = subprocess.Popen(
                network.command(host, [sys.executable, "-c", ECHO]), stdout=subprocess.PIPE, text=True
            )
            assert echo.stdout is not None
            assert echo.stdout.readline() == "ready\n"
        yield network


def ping(network: Network, host: str, count: int, patience: float = 2.0) -> tuple[int, float]:
    """Return how many of `count` datagrams came back from a host, and the least seconds that one took."""
    command = [sys.executable, "-c", PING, network.address(host), str(count), str(patience)]
    result = subprocess.run(network.command("near", command), capture_output=True, text=True, check=True)
    came, least = result.stdout.split()
    return int(came), float(least)


def test_a_slow_link_delays_and_loses_in_both_directions(network: Network) -> None:
    came, least = ping(network, "plain", 200)
    assert came == 200
    assert least < 0.05
    came, least = ping(network, "slow", DATAGRAMS)
    assert 2 * DELAY_SECONDS <= least < 2 * DELAY_SECONDS + 0.1
    # Of 2000, 1805 are expected to survive two draws of 5 %, give or take 13 (binomial): six of those.
    assert abs(came - DATAGRAMS * (1 - LOSS) ** 2) < 80


def test_a_cut_link_loses_everything_until_it_is_mended(network: Network) -> None:
    assert ping(network, "plain", 3)[0] == 3
    network.cut("plain")
    assert ping(network, "plain", 3, patience=0.5)[0] == 0
    network.mend("plain")
    assert ping(network, "plain", 3)[0] == 3


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_of_a_program_that_is_ended(signum: int) -> None:
    """Neither namespaces nor what ran in them; the guard does it, so that even a killed program cleans up."""
    program = (
        # What starts in the background, as the tests may, is deaf to Ctrl-C.
        "import signal, subprocess, time\nfrom tests.support.network import Network\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "with Network(['one', 'two'], slow={'two': (0.1, 0.0)}) as network:\n"
        "    inside = subprocess.Popen(network.command('one', ['sleep', '1000']))\n"
        "    print(network.prefix, inside.pid, flush=True)\n    time.sleep(1000)\n"
    )
    command = [sys.executable, "-c", program]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    prefix, pid = process.stdout.readline().split()
    assert prefix in namespaces()
    process.send_signal(signum)
    process.wait(30)
    wait_until(lambda: prefix not in namespaces() and not is_running(int(pid)), 60)


def namespaces() -> str:
    return subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout


def is_running(pid: int) -> bool:
    """Say whether a process lives; one that has ended and is not waited for counts as gone."""
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().split()[2] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
