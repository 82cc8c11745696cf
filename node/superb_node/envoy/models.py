"""The model that an experiment names, put where a worker without a network can read it."""

from __future__ import annotations

import logging
from pathlib import Path

logger = logging.getLogger("envoy")

_SHARED_MEMORY = Path("/dev/shm")
_NOT_FETCHED = ("", "tiny", "scratch")
_CONFIGURATION, _WEIGHTS, _OLD_WEIGHTS = "*.json", "*.safetensors", "*.bin"


def provide(name: str) -> Path | None:
    """Return a model's folder; one of the Hugging Face hub is downloaded to the cache, if it is not there.

    Args:
        name: a folder, a model id of the hub, or one that needs no file.

    Returns:
        The folder; None if there is none to be read, and for the hub, whose cache is always readable.
    """
    if name in _NOT_FETCHED:
        return None
    if Path(name).is_absolute():
        # The name is the author's: a folder of anything else stays closed. So does one that a worker can
        # write to: it could put something else in its place after this look at it.
        folder = Path(name).resolve()
        if folder.is_relative_to(_SHARED_MEMORY) or folder.is_relative_to(Path.cwd()):
            return None
        holds_model = (folder / "config.json").is_file() and any(
            next(folder.glob(pattern), None) for pattern in (_WEIGHTS, _OLD_WEIGHTS)
        )
        return folder if holds_model else None
    _download(name)
    return None


def _download(name: str) -> None:
    from huggingface_hub import snapshot_download

    # The name is the author's, so the owner's token stays out of it.
    try:
        fetched = Path(snapshot_download(name, allow_patterns=[_CONFIGURATION, _WEIGHTS], token=False))
        if next(fetched.glob(_WEIGHTS), None) is None:
            snapshot_download(name, allow_patterns=[_OLD_WEIGHTS], token=False)
    except Exception as error:  # the hub's client lets any error of its layers through
        # The experiment finds out by itself, and says what helps.
        logger.warning("Model %s was not fetched: %s", name, str(error).strip().partition("\n")[0])
