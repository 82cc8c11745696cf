"""The model that an experiment names, put where a worker without a network can read it."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from superb_node.work_folder import MARKER

logger = logging.getLogger("envoy")

PERSONAL = ".personal-model"
"""A file that marks an owner's personal model, which no experiment may open."""
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
        folder = Path(name).resolve()
        if fault := _fault(folder):
            logger.warning("The experiment's model folder %s stays closed: %s", folder, fault)
        return None if fault else folder
    _download(name)
    return None


def _fault(folder: Path) -> str:
    """Return why a folder is not opened to an experiment; empty if it is.

    The name is the author's: a folder of anything else stays closed. So does one that workers, or another
    account, can write to: they could put something else in its place after this look.
    """
    try:
        if any((up / PERSONAL).exists() for up in (folder, *folder.parents)):
            return "it is a personal model, which stays with its owner"
        in_work = any((up / MARKER).is_file() for up in (folder, *folder.parents))
        if in_work or folder.is_relative_to(_SHARED_MEMORY):
            return "experiments can write there"
        if folder.stat().st_uid not in (0, os.geteuid()):
            return "it belongs to another account"
        files = [*folder.glob(_WEIGHTS), *folder.glob(_OLD_WEIGHTS)]
        return "" if files and (folder / "config.json").is_file() else "it holds no model"
    except OSError as error:
        return str(error.strerror)


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
