"""The archive of an experiment: what every node unpacks, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import superb_ks
from superb_ks.model.architecture import CHECKPOINT
from superb_node.approval.archive import NO_LIMITS, read_archive
from superb_notebook.connect import FederationError

MAX_ARCHIVE_BYTES = 16 * 1024 * 1024
"""The archive is sources, three pickles and at most the pretrained tiny model. What is larger than this has
caught an object of the notebook, and would go to every node."""

_PACKAGE = Path(superb_ks.__file__).resolve().parent
_HIDDEN = shutil.ignore_patterns(".*")


def pack_workspace(staging: Path, with_checkpoint: bool = False) -> Path:
    """Pack the plan, the pickles and this package's sources; returns the archive.

    Args:
        staging: folder with `plan/` and the pickles; the archive appears in it.
        with_checkpoint: pack the pretrained tiny model as well. It travels with each experiment that uses
            it, because the folder of an envoy may have been copied before there was one.

    Raises:
        FederationError: the archive is too large.
    """
    contents = staging / "archive"
    shutil.rmtree(contents, ignore_errors=True)
    shutil.copytree(_PACKAGE, contents / _PACKAGE.name, ignore=_not_sources)
    if with_checkpoint:
        shutil.copytree(CHECKPOINT, contents / _PACKAGE.name / CHECKPOINT.name, ignore=_HIDDEN)
    shutil.copytree(staging / "plan", contents / "plan")
    for pickled in staging.glob("*.pkl"):
        shutil.copy(pickled, contents)
    archive = Path(shutil.make_archive(str(staging / "workspace"), "zip", contents))
    size = archive.stat().st_size
    if size > MAX_ARCHIVE_BYTES:
        raise FederationError(
            f"the experiment's archive has {size} bytes, {MAX_ARCHIVE_BYTES} are allowed; "
            "does a task refer to a large object (a model, a data set) of the notebook?"
        )
    return archive


def digest(archive: Path) -> str:
    """Return the digest by which the owners of director and envoys know an archive (see docs/approval.md)."""
    return read_archive(archive.read_bytes(), NO_LIMITS).digest


def _not_sources(folder: str, names: list[str]) -> list[str]:
    """Name what of the package is not shipped as a source: all but Python files and folders of them."""
    return [
        name
        for name in names
        if name in ("__pycache__", CHECKPOINT.name)
        or not (name.endswith(".py") or (Path(folder) / name).is_dir())
    ]
