"""SUPERB KS on a hub on the loopback, in the layout that the real one has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.hub import SmallHub, small_hub

COPY, PARQUET = "s3prl/superb", "refs/convert/parquet"


@contextmanager
def superb_hub(folder: Path) -> Iterator[SmallHub]:
    """Serve what the real hub has, as far as is known: a script in `main`, parquet files in another revision.

    Args:
        folder: with the files of the data set.
    """
    with small_hub() as hub:
        hub.data_sets = {COPY: {PARQUET: files_in(folder), "main": {"superb.py": b"", "README.md": b""}}}
        yield hub


def files_in(folder: Path) -> dict[str, bytes]:
    """Return the parquet files by their path below the folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.parquet")}


def hub_variables(url: str, home: Path) -> dict[str, str]:
    """Return the variables by which the hub's client uses that hub, and keeps what it fetches in `home`."""
    return {"HF_ENDPOINT": url, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0"}
