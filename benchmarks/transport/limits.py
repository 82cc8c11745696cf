"""What the machine can do at best: bytes a second through a loopback socket, and of a copy."""

from __future__ import annotations

import multiprocessing
import socket
import statistics
import time
from typing import Any

import numpy as np

from benchmarks.transport.result import now
from tests.support.machine import machine

BYTES = 378_286_640
"""The weights of wav2vec2-base in float32."""

_PIECE = 4 * 2**20


def measure(repeats: int = 3) -> dict[str, Any]:
    """Return medians, in bytes a second, with date and machine."""
    return {
        "loopback_bytes_per_second": statistics.median(socket_speed() for _ in range(repeats)),
        "memcpy_bytes_per_second": statistics.median(copy_speed(touched=True) for _ in range(repeats)),
        "memcpy_to_new_memory_bytes_per_second": statistics.median(
            copy_speed(touched=False) for _ in range(repeats)
        ),
        "bytes": BYTES,
        "date": now(),
        "machine": machine(),
    }


def socket_speed() -> float:
    """Send `BYTES` from one process to another, which reads them into memory that it has touched before."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        sender = multiprocessing.get_context("spawn").Process(target=_send, args=(port,))
        sender.start()
        connection, _ = server.accept()
        buffer = np.ones(BYTES, np.uint8).data
        with connection:
            connection.sendall(b"g")
            started = time.perf_counter()
            filled = 0
            while filled < BYTES:
                filled += connection.recv_into(buffer[filled:])
            seconds = time.perf_counter() - started
        sender.join()
    return BYTES / seconds


def _send(port: int) -> None:
    data = np.ones(BYTES, np.uint8).data
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.recv(1)
        for start in range(0, BYTES, _PIECE):
            connection.sendall(data[start : start + _PIECE])


def copy_speed(touched: bool) -> float:
    """Copy `BYTES` from one array to another with one thread.

    Args:
        touched: the target was written to before. If not, the operating system must first find a page of
            memory for every few KiB, which takes longer than the copy: what a program pays that does not
            reuse its memory.
    """
    source = np.ones(BYTES, np.uint8)
    target = np.ones(BYTES, np.uint8) if touched else np.empty(BYTES, np.uint8)
    started = time.perf_counter()
    np.copyto(target, source)
    return BYTES / (time.perf_counter() - started)
