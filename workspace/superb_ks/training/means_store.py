"""Files of vectors by clip, in the user's cache: written whole or not at all, whoever else writes beside."""

from __future__ import annotations

import contextlib
import logging
import os
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

logger = logging.getLogger(__name__)

MAX_BYTES = 8 * 2**30
"""What all upstreams together may take up; beyond it, what was not used for longest goes."""
STALE_SECONDS = 3600.0
"""What a killed process left half-written is removed after so long."""

_FORMAT = "superb_ks time means 1"


def cache_folder() -> Path:
    """Return where the files are: `hidden-states` in `$SUPERB_CACHE`, else in the user's cache folder."""
    if own := os.environ.get("SUPERB_CACHE"):
        return Path(own).expanduser().resolve() / "hidden-states"
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().resolve() / "superb-federated" / "hidden-states"


class MeansStore:
    """The vectors of one upstream.

    Each `add` writes a file of its own under a name that nobody else has, so that several envoys on one
    machine may read and write at the same time without a lock; at worst both compute the same clip.

    Args:
        upstream: 64 hexadecimal digits that stand for the upstream.
    """

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.folder = cache_folder() / upstream[:32]

    def load(self) -> dict[bytes, torch.Tensor]:
        """Return all that is known, by the clip's 32 bytes: float32 [layers + 1, hidden_size], memory-mapped.

        A file that is damaged or not of this upstream is passed over with a warning.
        """
        known: dict[bytes, torch.Tensor] = {}
        for path in sorted(self.folder.glob("*.safetensors")):
            try:
                known.update(self._read(path))
                with contextlib.suppress(OSError):
                    os.utime(path)  # for `_trim`: used just now
            except (SafetensorError, OSError, ValueError) as error:
                logger.warning("%s is not used: %s", path, error)
        return known

    def add(self, means: Mapping[bytes, torch.Tensor]) -> Mapping[bytes, torch.Tensor]:
        """Write what is new into a file; returns it, memory-mapped.

        Where the cache cannot be written, that is said and what was given is returned.
        """
        path = self.folder / f"{uuid.uuid4().hex}.safetensors"
        partial = path.with_suffix(".partial")
        clips = torch.frombuffer(bytearray(b"".join(means)), dtype=torch.uint8).view(len(means), -1)
        tensors = {"clips": clips, "means": torch.stack(list(means.values()))}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_file(tensors, partial, metadata={"format": _FORMAT, "upstream": self.upstream})
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            partial.rename(path)
            kept: Mapping[bytes, torch.Tensor] = self._read(path)
        except (SafetensorError, OSError) as error:
            with contextlib.suppress(OSError):
                partial.unlink()
            logger.warning("hidden states are kept in memory, the cache cannot be written: %s", error)
            kept = means
        _trim()
        return kept

    def _read(self, path: Path) -> dict[bytes, torch.Tensor]:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if (metadata.get("format"), metadata.get("upstream")) != (_FORMAT, self.upstream):
                raise ValueError("it holds no hidden states of this upstream")
            clips, means = file.get_tensor("clips"), file.get_tensor("means")
        return dict(zip(map(bytes, clips.numpy()), means, strict=True))


def _trim() -> None:
    """Remove the files that were not used for longest, until the rest fits; and what was never finished.

    Other envoys trim at the same time, so a file that was listed may be gone by the time it is looked at.
    """
    root = cache_folder()
    for partial in root.glob("*/*.partial"):
        with contextlib.suppress(OSError):
            if time.time() - partial.stat().st_mtime > STALE_SECONDS:
                partial.unlink()
    files = []
    for path in root.glob("*/*.safetensors"):
        with contextlib.suppress(OSError):
            files.append((path.stat(), path))
    files.sort(key=lambda file: file[0].st_mtime)
    excess = sum(status.st_size for status, _ in files) - MAX_BYTES
    for status, path in files:
        if excess <= 0:
            break
        # Who has it mapped goes on reading it; the space is given back when the last of them is done.
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
            excess -= status.st_size
