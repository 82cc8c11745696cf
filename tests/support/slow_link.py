"""A cable that takes its time and loses packets: python slow_link.py NAMESPACE PORT DELAY_SECONDS LOSS

Does what `tc qdisc add … netem delay … loss …` does, on kernels without netem as well. Whole Ethernet frames
are held back and dropped between two virtual interfaces, so that the kernel's TCP at both ends sees a slow
and lossy link: it retransmits and shrinks its window as it would on a real one. One end, PORT, is made in the
network namespace in which this runs, the other becomes `eth0` of NAMESPACE. Ends with SIGTERM.
"""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import itertools
import os
import random
import select
import struct
import subprocess
import sys
import time

# From linux/if_tun.h.
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
FRAME_BYTES = 65536
# Frames that wait in one direction: more than the bandwidth times the delay of any link that is meant here.
QUEUE_FRAMES = 20_000


def open_tap(name: str) -> int:
    """Make an Ethernet interface whose frames this process reads and writes; returns the descriptor."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TAP | IFF_NO_PI))
    return descriptor


def relay(ends: tuple[int, int], delay: float, loss: float, draw: random.Random) -> None:
    """Carry frames between two descriptors, each `delay` seconds late, a share of `loss` not at all."""
    other = {ends[0]: ends[1], ends[1]: ends[0]}
    under_way: list[tuple[float, int, int, bytes]] = []  # due, order, to, frame
    order = itertools.count()
    while True:
        wait = None if not under_way else max(0.0, under_way[0][0] - time.monotonic())
        for end in select.select(ends, [], [], wait)[0]:
            frame = read(end)
            if frame and draw.random() >= loss and len(under_way) < QUEUE_FRAMES:
                heapq.heappush(under_way, (time.monotonic() + delay, next(order), other[end], frame))
        while under_way and under_way[0][0] <= time.monotonic():
            _, _, end, frame = heapq.heappop(under_way)
            write(end, frame)


def read(end: int) -> bytes:
    """Return the next frame; nothing while the interface is down."""
    try:
        return os.read(end, FRAME_BYTES)
    except OSError:
        time.sleep(0.01)
        return b""


def write(end: int, frame: bytes) -> None:
    """Hand a frame on; an interface that is down loses it."""
    with contextlib.suppress(OSError):
        os.write(end, frame)


def main() -> None:
    """Make both ends and carry frames between them."""
    namespace, port, delay, loss = sys.argv[1:]
    ends = open_tap(port), open_tap("far")
    subprocess.run(["ip", "link", "set", "far", "netns", namespace, "name", "eth0"], check=True)
    print("ready", flush=True)
    relay(ends, float(delay), float(loss), random.Random(0))


if __name__ == "__main__":
    main()
