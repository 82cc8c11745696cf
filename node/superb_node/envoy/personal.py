"""The personal models of an envoy: how they get to its disk, and how the owner takes one out.

python -m superb_node.envoy.personal personal/env_one/ks-20261129-120000.npz my_model

A worker may write to its experiment's folder alone, so it leaves the weights there, and the service takes
them over as numbers. A file holds the experiment's text and the weights. That is no folder of a model, which
an experiment could name as its own and carry away.
"""

from __future__ import annotations

import argparse
import logging
import os
import stat
import sys
import zipfile
from pathlib import Path

import numpy as np

from superb_ks.experiment import Experiment
from superb_ks.types import Vector
from superb_node import command_line
from superb_node.envoy.models import PERSONAL

logger = logging.getLogger("envoy")

PERSONAL_FOLDER = Path("personal")
"""Below the folder in which the envoy is started; it has one folder for each name. It is the owner's."""
SUFFIX = ".npz"
KEPT = 3
"""Models that an envoy keeps, the newest."""
HANDED_OVER = "personal.float32"


def hand_over(folder: Path, weights: Vector) -> None:
    """In a worker: leave a personal model for the service.

    Args:
        folder: the experiment's.
        weights: packed, float32 `[size]`.
    """
    partial = folder / f".{HANDED_OVER}"
    weights.tofile(partial)
    partial.replace(folder / HANDED_OVER)


def take_over(folder: Path, text: bytes, size: int, file: Path) -> None:
    """In the service: keep what a worker that has ended left, if its experiment personalises, and log where.

    Args:
        folder: the experiment's. What is in it is the work of the author's code, and may be anything.
        text: of the experiment.
        size: how many values its model has: the file has just as many, so a worker cannot fill the disk.
        file: to write.
    """
    if not Experiment.read(text).settings.personalise or not os.path.lexists(folder / HANDED_OVER):
        return
    try:
        with open(folder / HANDED_OVER, "rb", opener=_open_itself) as handed:
            found = os.fstat(handed.fileno())
            if not stat.S_ISREG(found.st_mode) or not 0 < found.st_size == 4 * size:
                raise ValueError(f"what the experiment left is no vector of the model's {size:,} values")
            keep(file, text, np.memmap(handed, np.float32, mode="r"))
        logger.info("The personal model is kept in %s", file)
    except (OSError, ValueError) as error:
        logger.warning("The personal model is not kept: %s", error)


def _open_itself(path: str, flags: int) -> int:
    """Open no link, and wait for nobody at the other end of a pipe."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def keep(file: Path, text: bytes, weights: Vector) -> None:
    """Write a personal model whole or not at all, for this account alone; all but the newest ones go.

    Args:
        file: to write; the other models are next to it.
        text: of the experiment.
        weights: packed, float32 `[size]`.

    Raises:
        OSError: it cannot be written.
    """
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.partial")
    try:
        with open(partial, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as out:
            np.savez(out, experiment=np.frombuffer(text, np.uint8), weights=weights)
        os.replace(partial, file)
    finally:
        partial.unlink(missing_ok=True)
    models = sorted(file.parent.glob(f"*{SUFFIX}"), key=lambda each: each.stat().st_mtime_ns)
    for old in models[:-KEPT]:
        old.unlink()


def load(file: Path) -> tuple[Experiment, Vector]:
    """Read what `keep` wrote.

    Raises:
        ValueError: it is no personal model.
        OSError: there is no such file.
    """
    try:
        with np.load(file, allow_pickle=False) as found:
            return Experiment.read(found["experiment"].tobytes()), found["weights"]
    except (KeyError, AttributeError, EOFError, zipfile.BadZipFile, ValueError) as error:
        raise ValueError(f"{file} is no personal model: {error}") from error


def main() -> int:
    """Write a personal model as a folder for `from_pretrained`; returns the exit code."""
    command_line.set_up_output()
    command_line.keep_files_private()
    parser = argparse.ArgumentParser(
        prog="personal", description="Write a personal model as a folder for transformers."
    )
    parser.add_argument("file", type=Path, help=f"such as {PERSONAL_FOLDER}/env_one/NAME{SUFFIX}")
    parser.add_argument("folder", type=Path, help="to be made")
    given = parser.parse_args()
    # The author may have named a model of the hub. The envoy has fetched it, and not with the owner's token.
    os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_IMPLICIT_TOKEN="1")
    from superb_ks.collaborator.personal import save_pretrained

    try:
        experiment, weights = load(given.file)
        if given.folder.exists():
            raise ValueError(f"{given.folder} is there already")
        given.folder.mkdir(mode=0o700, parents=True)
        (given.folder / PERSONAL).touch()  # before there are weights
        save_pretrained(experiment, weights, given.folder)
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: the model cannot be built here
        print(f"personal: {error}", file=sys.stderr)
        return 2
    print(given.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
