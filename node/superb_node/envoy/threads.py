"""How many threads an envoy computes with, so that several envoys can share a machine.

An envoy cannot know at its start what else will run here, so it counts again before each experiment. It
counts the envoys of its own director: those train when it does. A SuperNode of Flower, in an envoy's place,
counts those of its SuperLink, before each round. The number of threads decides in which order
sums are added up, so a run repeats bit by bit whatever else computes on this machine.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import psutil

PROCESSES = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")


def fair_threads(director_host: str, director_port: str) -> int:
    """Return this envoy's share of the cores that it may use, at least 1.

    Args:
        director_host: of the director or SuperLink, as the envoy was told; by it and the port the others are
            known.
        director_port: the same.
    """
    return max(1, usable_cores() // envoys_of(director_host, director_port))


def envoys_of(director_host: str, director_port: str) -> int:
    """Count the envoys of a director, or a SuperLink's SuperNodes, on this machine, this one included."""
    wanted = (_one_name(director_host), director_port)
    # By name: the processes of one envoy have the same command line, and no two of a director the same name.
    envoys = {_envoy_of(words) for words in _command_lines()} - {None}
    return max(1, sum(envoy is not None and envoy[:2] == wanted for envoy in envoys))


def _envoy_of(words: list[str]) -> tuple[str, str, str] | None:
    """Return the director's host and port, and the envoy's name; None if it is no envoy's command line."""
    if words[1:3] == ["-m", "superb_node.envoy"]:
        # `--name=NAME`, as the start scripts say it, or two words.
        options = dict(pairwise(part for word in words for part in word.split("=", 1)))
        host, port = options.get("--director-host", "localhost"), options.get("--director-port", "50050")
        return _one_name(host), port, options.get("--name", "env_one")
    if "flower-supernode" in (Path(word).name for word in words):
        options = {option: value for option, _, value in (word.partition("=") for word in words)}
        host, _, port = options.get("--superlink", "").rpartition(":")
        return _one_name(host), port, options.get("--node-config", "")  # which begins with its name
    return None


def _one_name(host: str) -> str:
    return "localhost" if host in ("127.0.0.1", "::1", "[::1]") else host


def usable_cores() -> int:
    """Return how many cores this process may use, by its affinity and by the quotas of its control groups."""
    affinity = getattr(os, "sched_getaffinity", None)  # only Linux has it
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return min([cores, *_quotas()])


def _command_lines() -> list[list[str]]:
    """Return the command lines, word by word, of this account's processes that this one can see."""
    lines = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # it has ended, or is not ours to see
            # Whoever has another account could start anything under an envoy's command line.
            if process.uids().effective == os.geteuid():
                lines.append(process.cmdline())
    return lines


def _quotas() -> Iterator[int]:
    """Yield the cores, rounded down, that each control group above this process allows (version 1 and 2)."""
    try:
        groups = (PROCESSES / "self" / "cgroup").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return
    for group in groups:
        _, controllers, path = group.split(":", 2)
        if controllers == "":
            mount, names = CGROUPS, ["cpu.max"]
        elif "cpu" in controllers.split(","):
            mount, names = CGROUPS / "cpu", ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
        else:
            continue
        here = mount / path.lstrip("/")
        # A container may see itself as the root, whatever its path is outside.
        for folder in (here, *here.parents):
            if folder.is_relative_to(mount):
                with contextlib.suppress(OSError, ValueError):
                    quota, period = " ".join(
                        (folder / name).read_text(encoding="ascii") for name in names
                    ).split()
                    if quota.isdigit():  # neither "max" nor "-1"
                        yield max(1, int(quota) // int(period))
