"""The clips of a run: what its envoys' shard descriptors are told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.compare.plan import ALPHA, POOLED, REAL, SYNTHETIC, Job
from demo.envoy_config import ShardValue
from demo.options import TEST_FOLDER

PARTITION_SEED = 0


class DataMissing(ValueError):
    """A folder is not what it is named as; the message is one line that names it and what is looked for."""


@dataclass(frozen=True)
class Archives:
    """Folders of the two archives of Speech Commands, in its layout."""

    train: Path
    test: Path


def find_archives(train: Path | None, test: Path | None = None) -> Archives | None:
    """Return the archives of real speech, or None if none is named.

    Args:
        train: the training archive's folder.
        test: the test archive's; None: `speech_commands_test_set_v0.01` next to the other.

    Raises:
        DataMissing: one of them is not there, or a test archive is named alone.
    """
    if train is None:
        if test is not None:
            raise DataMissing(f"--test-data {test}: goes with --data only (make compare DATA=FOLDER)")
        return None
    if not (train / "validation_list.txt").is_file():
        raise DataMissing(f"--data {train}: no training archive there (validation_list.txt is looked for)")
    folder = test or train.parent / TEST_FOLDER
    if any(folder.glob("*/*.wav")):
        return Archives(train, folder)
    if test is None:
        raise DataMissing(
            f"--data {train}: no test archive next to it ({TEST_FOLDER}/WORD/*.wav is looked for); "
            "name it with --test-data (make compare TEST_DATA=FOLDER)"
        )
    raise DataMissing(f"--test-data {test}: no test archive there (WORD/*.wav is looked for)")


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
