"""Watches processes from outside: memory from /proc, bytes on the loopback device."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

INTERVAL_SECONDS = 0.02
# New children are looked for less often, because that reads all of /proc.
_FAMILY_SECONDS = 0.25
_SETTLED_SECONDS, _SETTLE_AT_MOST_SECONDS = 1.0, 60.0


class MemoryWatch:
    """Samples the memory of process trees in a thread; a context manager.

    Resident memory has two kinds: anonymous (arrays, objects) and file-backed (libraries, mapped files),
    which the operating system shares and takes back. Both are summed over a tree.

    Args:
        roots: name to process id; the descendants of a process count with it.
    """

    def __init__(self, roots: dict[str, int]) -> None:
        self._roots = roots
        self._families: dict[str, set[int]] = {}
        self._cpu_before: dict[int, float] = {}
        self._cpu: dict[int, float] = {}
        self.base: dict[str, dict[str, int]] = {}
        self.peak: dict[str, dict[str, int]] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._look_for_children()
        self.base = {name: self._measure(pids) for name, pids in self._families.items()}
        self._cpu_before = dict(self._cpu)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def figures(self) -> dict[str, dict[str, float]]:
        """Return by name: base and peak resident memory in bytes, of them anonymous, and seconds of processor
        time since the start of the watch.
        """
        empty = {"rss": 0, "anon": 0}
        return {
            name: {
                "base": self.base.get(name, empty)["rss"],
                "base_anonymous": self.base.get(name, empty)["anon"],
                "peak": peak["rss"],
                "peak_anonymous": peak["anon"],
                "cpu_seconds": sum(
                    self._cpu.get(pid, 0) - self._cpu_before.get(pid, 0) for pid in self._families[name]
                ),
            }
            for name, peak in self.peak.items()
        }

    def _watch(self) -> None:
        look_at = 0.0
        while not self._done.wait(INTERVAL_SECONDS):
            if time.monotonic() >= look_at:
                self._look_for_children()
                look_at = time.monotonic() + _FAMILY_SECONDS
            for name, pids in self._families.items():
                now = self._measure(pids)
                peak = self.peak.setdefault(name, now)
                self.peak[name] = {kind: max(peak[kind], now[kind]) for kind in now}

    def _look_for_children(self) -> None:
        for name, root in self._roots.items():
            family = self._families.setdefault(name, {root})
            with contextlib.suppress(psutil.Error):
                family |= {child.pid for child in psutil.Process(root).children(recursive=True)}

    def _measure(self, pids: Iterable[int]) -> dict[str, int]:
        total = {"rss": 0, "anon": 0}
        for pid in list(pids):
            status = process_memory(pid)
            total["rss"] += status.get("VmRSS", 0)
            total["anon"] += status.get("RssAnon", 0)
            self._cpu[pid] = max(self._cpu.get(pid, 0.0), processor_seconds(pid))
        return total


def process_memory(pid: int) -> dict[str, int]:
    """Return the memory lines of `/proc/PID/status` in bytes; empty when the process is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return {}
    fields = (line.split() for line in text.splitlines() if line.endswith(" kB"))
    return {field[0].rstrip(":"): int(field[1]) * 1024 for field in fields}


def processor_seconds(pid: int) -> float:
    """Return the processor time that a process has used, 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_until_settled(pids: Iterable[int]) -> None:
    """Return when none has grown for a second, after a minute at most: they load libraries meanwhile."""
    pids = list(pids)
    give_up = time.monotonic() + _SETTLE_AT_MOST_SECONDS
    last, since = -1, time.monotonic()
    while time.monotonic() < give_up and time.monotonic() - since < _SETTLED_SECONDS:
        now = sum(process_memory(pid).get("VmRSS", 0) for pid in pids)
        if abs(now - last) > 2**20:
            last, since = now, time.monotonic()
        time.sleep(0.1)


def loopback_bytes() -> int:
    """Return the bytes that the loopback device has carried; other programs' traffic counts too."""
    for line in Path("/proc/net/dev").read_text(encoding="utf-8").splitlines():
        name, _, counters = line.partition(":")
        if name.strip() == "lo":
            return int(counters.split()[0])
    return 0
