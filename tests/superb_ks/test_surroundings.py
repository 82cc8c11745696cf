"""What importing the package does for a process that another program's environment has been left in."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

WORKSPACE = Path(__file__).resolve().parents[2] / "workspace"
TORCHRUN = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
TORCHRUN |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29512", "TORCHELASTIC_RUN_ID": "none"}
OPEN_MPI = {f"OMPI_COMM_WORLD_{name}": "1" for name in ("RANK", "LOCAL_RANK")}
OPEN_MPI |= {f"OMPI_COMM_WORLD_{name}": "2" for name in ("SIZE", "LOCAL_SIZE")}

# The notebook's rehearsal: the task of training, in the kernel, on four clips of noise.
REHEARSAL = """
from superb_notebook.display import tidy_outputs
tidy_outputs()
import numpy as np
from superb_ks.training.data import ClipDataset
from superb_ks.model.spec import ModelSpec
from superb_ks.settings import SUPERB_LABELS, Recipe, Settings
from superb_ks.training.local import local_trainer
settings = Settings(model="tiny", recipe=Recipe(epochs_per_round=1))
spec = ModelSpec.of(settings, SUPERB_LABELS)
noise = [(np.random.default_rng(0).normal(0, 0.1, 16_000).astype("float32"), 0)] * 4
trainer = local_trainer(spec.build(), ClipDataset(noise, spec.feature_extractor()), settings, "cpu", 0)
loss = trainer.train().training_loss
print("processes", trainer.args.world_size, trainer.accelerator.distributed_type, "loss", loss)
"""


def run(source: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the workspace, as a kernel does, in a shell of HOME, PATH and some variables."""
    bare = {name: os.environ[name] for name in ("HOME", "PATH")}
    return subprocess.run(
        [sys.executable, "-c", source],
        cwd=WORKSPACE,
        env={**bare, **variables},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def test_a_kernel_in_another_programs_job_trains_alone() -> None:
    """One by one these were a ValueError, an endless wait or another precision: see the test below."""
    result = run(REHEARSAL)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("processes 1 DistributedType.NO loss ")
    mixed = {"ACCELERATE_MIXED_PRECISION": "bf16", "ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
    assert run(REHEARSAL, **TORCHRUN, **OPEN_MPI, **mixed).stdout == result.stdout


@pytest.mark.parametrize(
    "variables",
    [
        {"LOCAL_RANK": "0", "WORLD_SIZE": "2"},
        TORCHRUN,
        OPEN_MPI,
        {"PMI_RANK": "1", "PMI_SIZE": "2"},
        {"MV2_COMM_WORLD_RANK": "1", "MV2_COMM_WORLD_SIZE": "2"},
        {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2"},
        {"ACCELERATE_USE_FSDP": "true", "FSDP_SHARDING_STRATEGY": "FULL_SHARD"},
    ],
)
def test_nothing_of_another_job_is_left(variables: dict[str, str]) -> None:
    result = run("import os, superb_ks; print(sorted(os.environ))", **variables)
    left = set(variables) & set(re.findall(r"'(\w+)'", result.stdout))
    assert "'HOME'" in result.stdout and not left


def test_what_is_of_no_other_job_stays() -> None:
    kept = {"SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": "", "ROLE_MODEL": "x", "HF_HOME": "/h", "RANKS": "1"}
    result = run("import os, superb_ks; print(sorted(os.environ))", **kept)
    assert set(kept) <= set(re.findall(r"'(\w+)'", result.stdout))


KERNEL = "from superb_notebook.display import tidy_outputs; tidy_outputs()"
CLIENT = "import sys; sys.path.insert(0, '../flower'); import superb_flower.client_app"
needs_flower = pytest.mark.skipif(find_spec("flwr") is None, reason="Flower needs Python 3.11 or later")


@pytest.mark.parametrize(
    ("source", "own", "policy", "looks"),
    [
        (KERNEL, {}, "PASSIVE", 1_000),
        (KERNEL, {"OMP_WAIT_POLICY": "", "GOMP_SPINCOUNT": "50"}, "PASSIVE", 50),
        (KERNEL, {"OMP_WAIT_POLICY": "active"}, "ACTIVE", 30_000_000_000),
        pytest.param(CLIENT, {}, "PASSIVE", 1_000, marks=needs_flower),
    ],
)
def test_threads_wait_without_spinning_unless_the_owner_wants_that(
    source: str, own: dict[str, str], policy: str, looks: int
) -> None:
    result = run(source, OMP_DISPLAY_ENV="VERBOSE", **own)
    assert result.returncode == 0, result.stderr
    assert set(re.findall(r"OMP_WAIT_POLICY\s*=\s*'(\w+)'", result.stderr)) == {policy}
    assert set(re.findall(r"GOMP_SPINCOUNT\s*=\s*'(\w+)'", result.stderr)) == {str(looks)}
