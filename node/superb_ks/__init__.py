"""What an experiment does on the nodes: model and training, the collaborator of an envoy, the aggregator.

The director has no need of PyTorch: import the modules one by one, and let this file import nothing but the
standard library. What it sets holds wherever the package is used, in an envoy and in a notebook's kernel,
however that was started.
"""

import os

__version__ = "0.1.0"

# Threads of OpenMP spin for milliseconds while they wait, on cores that the other processes need.
# These look a thousand times, some microseconds, then sleep; docs/performance.md has the figures. The runtime
# reads this when PyTorch or scikit-learn loads it; director, envoy, Flower's app and the notebooks import
# this package before them.
if not os.environ.get("OMP_WAIT_POLICY"):
    os.environ["OMP_WAIT_POLICY"] = "passive"
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

# What torchrun, accelerate, DeepSpeed and MPI tell the processes that they start. Here each process trains
# alone; the Trainer would take it for a part of such a job, and wait for the others.
_OF_OTHER_JOBS = (
    *("RANK", "LOCAL_RANK", "GROUP_RANK", "NODE_RANK", "ROLE_RANK", "ROLE_NAME", "FORK_LAUNCHED"),
    *("WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE", "ROLE_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
    *("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS", "SMDATAPARALLEL_LOCAL_RANK"),
)
_OF_OTHER_JOBS_PREFIXES = (
    *("ACCELERATE_", "FSDP_", "TORCHELASTIC_", "PARALLELISM_CONFIG_", "MEGATRON_LM_"),
    *("OMPI_COMM_WORLD_", "MV2_COMM_WORLD_"),
)
for _name in list(os.environ):
    if _name in _OF_OTHER_JOBS or _name.startswith(_OF_OTHER_JOBS_PREFIXES):
        del os.environ[_name]
