"""What a worker does: gives up its rights, then takes part in one experiment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from superb_node import local_socket
from superb_node.envoy.confinement import code_folders, confine, forget_secrets
from superb_node.envoy.libraries import preload, take_threads
from superb_node.envoy.participation import AggregatorAddress, run_collaborator
from superb_node.envoy.personal import hand_over
from superb_node.envoy.template import Job


@dataclass(frozen=True)
class Worker:
    """What all workers of an envoy have in common.

    Attributes:
        name: the envoy's.
        director_host: where the aggregator is, too.
        director_port: by host and port, the envoys that share this machine are counted.
        by_socket: the director is called by the socket of its port.
        certificates: files of the authority's certificate, our own, and its key; None without TLS.
        shard_descriptor: gives the data.
        data: files and folders that it reads.
        cuda_devices: numbers of those that may be used.
    """

    name: str
    director_host: str
    director_port: str
    by_socket: bool
    certificates: tuple[Path, Path, Path] | None
    shard_descriptor: Any
    data: tuple[Path, ...]
    cuda_devices: tuple[int, ...]

    def prepare(self) -> None:
        """Do in the template what all workers need."""
        forget_secrets()
        preload()
        code_folders()

    def work(self, job: Job) -> None:
        """Take part in an experiment, in a process of its own.

        Args:
            job: `folder` of the experiment, its `text` and `id`, the `port` of its aggregator, and `model`, a
                folder or None.
        """
        folder, model = Path(job["folder"]), job["model"]
        address = self._address(job)
        aggregator = Path(address.port) if self.by_socket else job["port"]
        confine(folder, self.data, Path(model) if model else None, aggregator)
        take_threads(self.director_host, self.director_port)
        os.chdir(folder)
        text, keep = job["text"].encode(), partial(hand_over, folder)
        run_collaborator(self.name, text, address, self.shard_descriptor, self.cuda_devices, keep)

    def _address(self, job: Job) -> AggregatorAddress:
        # Corrects: where the aggregator is, and whether TLS guards the way there, was up to the experiment.
        # It runs in the director's process, so it is where this envoy knows the director to be.
        if self.by_socket:
            return AggregatorAddress(local_socket.HOST, local_socket.path(job["port"]), job["id"])
        if self.certificates is None:
            return AggregatorAddress(self.director_host, str(job["port"]), job["id"])
        root, own, key = map(_in_memory, self.certificates)
        return AggregatorAddress(self.director_host, str(job["port"]), job["id"], root, key, own)


def _in_memory(file: Path) -> Path:
    """Return where a copy of a file can be read that needs no right to its folder."""
    if not hasattr(os, "memfd_create"):
        return file  # and no Landlock either
    handle = os.memfd_create(file.name)
    os.write(handle, file.read_bytes())
    return Path(f"/proc/self/fd/{handle}")
