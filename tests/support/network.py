"""Hosts on one switch, in Linux network namespaces, with links that are slow, lose packets, or are cut.

Nothing of it touches the machine's own network: switch and hosts are namespaces, and so is every interface.

Run as a program, it guards a network: python network.py PREFIX waits for the end of its input, which comes
when the process that made the network is done with it or was killed, and removes everything.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

SLOW_LINK = Path(__file__).with_name("slow_link.py")
# Only this network's own hosts see these addresses.
SUBNET = "10.77.0"
_numbers = itertools.count(1)
_COMMAND_SECONDS = 20.0


class Network:
    """Hosts by name, each with an address of its own; a context manager that leaves nothing behind.

        with Network(["director", "env_one"]) as network:
            subprocess.run(network.command("env_one", ["ip", "address"]))
            network.cut("env_one")

    Args:
        hosts: their names.
        slow: hosts whose link is slow: (seconds that a packet takes in each direction, share of packets that
            is lost in each direction).

    Attributes:
        prefix: what the names of its namespaces begin with.
    """

    def __init__(self, hosts: Sequence[str], slow: dict[str, tuple[float, float]] | None = None) -> None:
        self.hosts = list(hosts)
        self._slow = dict(slow or {})
        self.prefix = f"superb-{os.getpid()}-{next(_numbers)}"
        self._guard: subprocess.Popen[bytes] | None = None
        self._relays: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Network:
        try:
            self._guard = subprocess.Popen(
                [sys.executable, __file__, self.prefix], stdin=subprocess.PIPE, start_new_session=True
            )
            self._build()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def address(self, host: str) -> str:
        """Return the address of a host."""
        return f"{SUBNET}.{self.hosts.index(host) + 1}"

    def command(self, host: str, command: Sequence[str]) -> list[str]:
        """Return what runs `command` on a host; the process keeps its id and takes signals as ever."""
        return ["ip", "netns", "exec", self._namespace(host), *command]

    def cut(self, host: str) -> None:
        """Pull the cable of a host at the switch: packets are lost in both directions, and nobody is told."""
        _ip("-n", self._switch, "link", "set", self._port(host), "down")

    def mend(self, host: str) -> None:
        """Put the cable back."""
        _ip("-n", self._switch, "link", "set", self._port(host), "up")

    def remove(self) -> None:
        """End every process that is left on the hosts, and take down the network."""
        if self._guard is not None:
            self._guard.communicate()
        for relay in self._relays:
            relay.wait()

    @property
    def _switch(self) -> str:
        return f"{self.prefix}-switch"

    def _namespace(self, host: str) -> str:
        return f"{self.prefix}-{host}"

    def _port(self, host: str) -> str:
        return f"port{self.hosts.index(host) + 1}"

    def _build(self) -> None:
        _ip("netns", "add", self._switch)
        _ip("-n", self._switch, "link", "add", "bridge0", "type", "bridge")
        _ip("-n", self._switch, "link", "set", "bridge0", "up")
        for host in self.hosts:
            self._add(host)

    def _add(self, host: str) -> None:
        namespace, port = self._namespace(host), self._port(host)
        _ip("netns", "add", namespace)
        if host in self._slow:
            self._start_slow_link(namespace, port, *self._slow[host])
        else:
            link = ["link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", namespace]
            _ip("-n", self._switch, *link)
        _ip("-n", self._switch, "link", "set", port, "master", "bridge0", "up")
        _ip("-n", namespace, "address", "add", f"{self.address(host)}/24", "dev", "eth0")
        for interface in ("lo", "eth0"):
            _ip("-n", namespace, "link", "set", interface, "up")

    def _start_slow_link(self, namespace: str, port: str, delay: float, loss: float) -> None:
        command = [sys.executable, str(SLOW_LINK), namespace, port, str(delay), str(loss)]
        relay = subprocess.Popen(
            ["ip", "netns", "exec", self._switch, *command], stdout=subprocess.PIPE, start_new_session=True
        )
        self._relays.append(relay)
        assert relay.stdout is not None
        with relay.stdout as said:
            if said.readline() != b"ready\n":
                raise RuntimeError(f"{SLOW_LINK.name} did not start")


def why_not() -> str | None:
    """Return why this machine allows no network of namespaces; None where it does."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    if shutil.which("ip") is None:
        return "the command ip is missing (package iproute2)"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "/dev/net/tun is missing or not permitted"
    try:
        with Network(["one", "two"], slow={"two": (0.0, 0.0)}):
            return None
    except (OSError, RuntimeError) as error:
        return f"network namespaces are not permitted: {error}"


def _namespaces() -> list[str]:
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=False).stdout
    return [line.split()[0] for line in listed.splitlines() if line.strip()]


def remove(prefix: str) -> None:
    """Remove the network whose namespaces' names begin with `prefix`, and end what runs there."""
    names = [name for name in _namespaces() if name.startswith(f"{prefix}-")]
    for name in names:
        _end_processes(name)
    for name in names:
        _ip("netns", "delete", name)


def _end_processes(namespace: str) -> None:
    """A namespace lives, with its interfaces, as long as a process in it."""
    deadline = time.monotonic() + _COMMAND_SECONDS
    while pids := _ip("netns", "pids", namespace).split():
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        if time.monotonic() > deadline:
            raise RuntimeError(f"processes {', '.join(pids)} in {namespace} do not end")
        time.sleep(0.05)


def _ip(*arguments: str) -> str:
    result = subprocess.run(
        ["ip", *arguments], capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False
    )
    if result.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {result.stderr.strip()}")
    return result.stdout


if __name__ == "__main__":
    sys.stdin.read()
    remove(sys.argv[1])
