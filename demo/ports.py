"""Ports for processes that are started a moment later."""

from __future__ import annotations

import itertools
import random
import socket

# Below the range from which systems take the ports of outgoing connections, so that none of those is in the
# way when a service opens its port a moment later.
_PORTS = range(20_000, 32_000)
_held: list[socket.socket] = []


def free_ports(count: int) -> list[int]:
    """Ports, all different, on which nothing listens: this process holds them as long as it lives."""
    drawn = (port for port in random.sample(_PORTS, len(_PORTS)) if _hold(port))
    return list(itertools.islice(drawn, count))


def _hold(port: int) -> bool:
    """Keep others that ask for a free port from this one; returns whether it was free."""
    holder = socket.socket()
    try:
        holder.bind(("", port))
    except OSError:
        holder.close()
        return False
    # From now on a process that sets the same option, as every service does, may listen on it.
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    _held.append(holder)
    return True
