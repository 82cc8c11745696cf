"""What a worker does: gives up its rights, then takes part in one experiment."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from superb_node.envoy.confinement import code_folders, confine, forget_secrets
from superb_node.envoy.libraries import preload, take_threads
from superb_node.envoy.participation import run_collaborator
from superb_node.envoy.template import Job


@dataclass(frozen=True)
class Worker:
    """What all workers of an envoy have in common.

    Attributes:
        name: the envoy's.
        director_host: where the aggregator is, too.
        director_port: by host and port, the envoys that share this machine are counted.
        certificates: files of the authority's certificate, our own, and its key; None without TLS.
        shard_descriptor: gives the data.
        data: files and folders that it reads.
        cuda_devices: numbers of those that may be used.
    """

    name: str
    director_host: str
    director_port: str
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
            job: `folder` of the experiment, `port` of its aggregator, `model`: a folder or None.
        """
        folder, model = Path(job["folder"]), job["model"]
        certificates: Any = (None, None, None)
        if self.certificates:
            root, own, key = map(_in_memory, self.certificates)
            certificates = (root, key, own)
        confine(folder, self.data, Path(model) if model else None, job["port"])
        take_threads(self.director_host, self.director_port)
        os.chdir(folder)
        sys.path.append(str(folder))  # behind everything that is installed
        network = {
            "agg_addr": self.director_host,
            "use_tls": self.certificates is not None,
            "require_client_auth": True,
        }
        run_collaborator(self.name, network, certificates, self.shard_descriptor, self.cuda_devices)


def _in_memory(file: Path) -> Path:
    """Return where a copy of a file can be read that needs no right to its folder."""
    if not hasattr(os, "memfd_create"):
        return file  # and no Landlock either
    handle = os.memfd_create(file.name)
    os.write(handle, file.read_bytes())
    return Path(f"/proc/self/fd/{handle}")
