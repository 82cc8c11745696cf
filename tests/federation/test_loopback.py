"""Without TLS nothing of the federation can be reached from another machine."""

from __future__ import annotations

import ipaddress

import psutil
import pytest

from tests.support.lab import Lab, at

pytestmark = pytest.mark.federation


def listening(pid: int) -> set[tuple[str, int]]:
    """Return addresses and ports on which a process listens."""
    open_sockets = psutil.Process(pid).net_connections("inet")
    return {(each.laddr.ip, each.laddr.port) for each in open_sockets if each.status == psutil.CONN_LISTEN}


def test_director_and_aggregator_listen_on_the_loopback_only(lab: Lab) -> None:
    seen: set[tuple[str, int]] = set()
    pid = lab.processes["director"].pid
    outcome = lab.run(None, (at(0, lab.first, "train"), lambda: seen.update(listening(pid))))
    assert outcome.status == "finished", outcome.error
    assert {port for _, port in seen} == {lab.director_port, lab.aggregator_port}
    assert all(ipaddress.ip_address(address).is_loopback for address, _ in seen), seen
