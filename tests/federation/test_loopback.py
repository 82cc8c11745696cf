"""Without TLS nothing of the federation can be reached from another machine."""

from __future__ import annotations

import ipaddress

import psutil
import pytest

from tests.support.lab import Lab, at

pytestmark = pytest.mark.federation


Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def listening(pid: int) -> set[tuple[Address, int]]:
    """Return addresses and ports on which a process listens."""
    open_sockets = psutil.Process(pid).net_connections("inet")
    return {(plain(each.laddr.ip), each.laddr.port) for each in open_sockets if each.status == "LISTEN"}


def plain(text: str) -> Address:
    """Read an address; gRPC writes IPv4 addresses as IPv6 ones, ::ffff:127.0.0.1."""
    address = ipaddress.ip_address(text)
    return getattr(address, "ipv4_mapped", None) or address


def test_director_and_aggregator_listen_on_the_loopback_only(lab: Lab) -> None:
    seen: set[tuple[Address, int]] = set()
    pid = lab.processes["director"].pid
    outcome = lab.run(None, (at(0, lab.first, "train"), lambda: seen.update(listening(pid))))
    assert outcome.status == "finished", outcome.error
    assert {port for _, port in seen} == {lab.director_port, lab.aggregator_port}
    assert all(address.is_loopback for address, _ in seen), seen
