"""The clips of a run: what its envoys' shard descriptors are told."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.compare.plan import ALPHA, CENTRALISED, POOLED, REAL, SYNTHETIC, Job
from demo.envoy_config import ShardValue
from demo.options import archive_folders
from superb_shard_descriptor import SuperbShardDescriptor

PARTITION_SEED = 0


@dataclass(frozen=True)
class Archives:
    """Folders of the two archives of Speech Commands, or what stands for the test archive's.

    Attributes:
        clips: how many there are to train on and to test on.
    """

    train: Path
    test: Path | str
    clips: tuple[int, int] = (0, 0)


def find_archives(data: str, test_data: str = "") -> Archives | None:
    """Return the archives of real speech, or None if none is named.

    Args:
        data: the training archive's folder; "synthetic" or "": none.
        test_data: as in `archive_folders`.

    Raises:
        OptionError: a folder is not there, or a test archive is named alone.
        DataError: there are no such clips in it.
    """
    train, test = archive_folders(data or SYNTHETIC, test_data)
    if train is None or test is None:
        return None
    archives = Archives(train, test)
    # What is wrong with the clips is told now, and not once a run.
    shard = SuperbShardDescriptor("1, 1", **shard_params(Job(REAL, CENTRALISED), archives))  # type: ignore[arg-type]
    return replace(archives, clips=(len(shard.get_dataset("train")), len(shard.get_dataset("test"))))


def shard_params(job: Job, archives: Archives | None) -> dict[str, ShardValue]:
    """Return the shard descriptor's parameters for a run, but for the rank."""
    params: dict[str, ShardValue] = {"source": SYNTHETIC, "seed": PARTITION_SEED}
    if job.data == REAL:
        assert archives is not None, "runs on real speech are planned with its archives alone"
        params |= {"source": "folder", "data_dir": str(archives.train), "test_dir": str(archives.test)}
    if job.partition != POOLED:
        params["partition"] = job.partition
    if job.partition == "dirichlet":
        params["alpha"] = ALPHA
    return params
