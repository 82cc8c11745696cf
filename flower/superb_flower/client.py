"""What a client works with: its shard, and the experiment's tasks and model.

On a SuperNode, Flower starts a process for each message. In a simulation, one worker plays many clients in
turn: libraries, the index of the corpus, tasks and model are there once, and a client costs its own clips.
"""

from __future__ import annotations

import functools
import gc
import importlib
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from flwr.app import Context
from flwr.common.logger import log
from torch import nn

import superb_ks
from superb_flower.experiment import spec_of
from superb_ks.collaborator.shard_data import open_shard
from superb_ks.collaborator.tasks import Tasks
from superb_ks.experiment import Experiment, UnsoundExperiment
from superb_ks.model.spec import ModelSpec
from superb_ks.types import Vector
from superb_node.envoy.config import EnvoyConfig, build_descriptor
from superb_node.envoy.libraries import take_threads
from superb_node.envoy.personal import PERSONAL_FOLDER, SUFFIX, keep
from superb_node.errors import ConfigError

CONFIG_FILE = "envoy_config.yaml"


@dataclass(frozen=True)
class Client:
    """One client of the run.

    Attributes:
        name: the envoy's, or `client_NUMBER` in a simulation.
        device: on which its tasks compute.
        rank: in a simulation, which of the shards it has, from 1.
        open: returns the shard descriptor of a rank; the clients of a worker share it, and what it has read.
        home: the owner's folder; None in a simulation, which keeps nothing for a client.
    """

    name: str
    device: str
    rank: int
    open: Callable[[int], Any]
    home: Path | None = None

    @classmethod
    def of(cls, context: Context) -> Client:
        """Return the client that the node's config names, or one of the simulation's.

        Raises:
            ConfigError, DataError: the config or the data cannot be used.
        """
        node, run = context.node_config, context.run_config
        if "envoy-config" in node:
            file = Path(str(node["envoy-config"]))
            config = _config(file)
            if config.cpu_threads:
                torch.set_num_threads(config.cpu_threads)
            else:
                host, _, port = str(node.get("superlink", "")).rpartition(":")
                take_threads(host, port)
            device = f"cuda:{config.cuda_devices[0]}" if config.cuda_devices else "cpu"
            return cls(str(node["name"]), device, 1, _owner(file), Path(str(node.get("home", file.parent))))
        if "partition-id" not in node:
            raise ConfigError("a SuperNode needs name and envoy-config: start it by envoy/start_supernode.sh")
        rank, count = int(node["partition-id"]) + 1, int(node["num-partitions"])
        folder = Path(str(run["envoy-folder"]) or Path(superb_ks.__file__).parents[2] / "envoy")
        chosen = ((name, run[name.replace("_", "-")]) for name in _SIMULATED)
        # An empty folder is none, and not the owner's, which goes with the source in the owner's file.
        shard = tuple((name, None if value == "" else value) for name, value in chosen)
        name = f"client_{rank:0{len(str(count))}d}"
        # A worker asks Ray for no GPU and is shown none.
        return cls(name, "cpu", rank, _simulated(folder / CONFIG_FILE, count, shard))

    @property
    def card(self) -> str:
        """What the shard holds, as one line of JSON."""
        return str(self.open(self.rank).dataset_description)

    def keep(self, run_id: int, text: bytes, weights: Vector) -> None:
        """Keep a personal model of a run, float32 `[size]`, where an envoy does."""
        if self.home is not None:
            file = self.home / PERSONAL_FOLDER / self.name / f"run-{run_id}{SUFFIX}"
            keep(file, text, weights)
            log(logging.INFO, "The personal model is kept in %s", file)

    def clips(self, spec: ModelSpec) -> Any:
        """Return what the tasks get as their data; a worker keeps it, as it may meet the client again."""
        return _clips(self.open, self.rank, spec)


# The run config has them with "-" for "_".
_SIMULATED = ("source", "data_dir", "test_dir", "speakers", "partition", "alpha", "min_shard", "seed")


@functools.cache
def _config(file: Path) -> EnvoyConfig:
    return EnvoyConfig.load(file)


def _import_from(folder: Path) -> None:
    if str(folder.resolve()) not in sys.path:
        sys.path.insert(0, str(folder.resolve()))


@functools.cache
def _owner(file: Path) -> Callable[[int], Any]:
    """Return what opens the one shard of an owner."""
    _import_from(file.parent)
    return lambda rank: build_descriptor(_config(file))


@functools.lru_cache(maxsize=1)
def _simulated(file: Path, count: int, shard: tuple[tuple[str, Any], ...]) -> Callable[[int], Any]:
    """Return what opens each shard of a run; the corpus is indexed and divided here, once a worker."""
    config = _config(file)
    _import_from(file.parent)
    params = {**config.descriptor_params, **dict(shard)}
    module, _, name = config.descriptor.rpartition(".")
    of_all_ranks = getattr(getattr(importlib.import_module(module), name), "of_all_ranks", None)
    if of_all_ranks is None:  # an owner's own class
        return lambda rank: build_descriptor(
            EnvoyConfig(config.descriptor, {**params, "rank_worldsize": f"{rank}, {count}"})
        )
    params.pop("rank_worldsize", None)
    return cast(Callable[[int], Any], of_all_ranks(count, **params))


@functools.lru_cache(maxsize=4096)
def _clips(open_rank: Callable[[int], Any], rank: int, spec: ModelSpec) -> Any:
    return open_shard(open_rank(rank), spec.feature_extractor())


@functools.lru_cache(maxsize=1)
def work_of(text: bytes) -> tuple[Tasks, nn.Module, ModelSpec]:
    """Return tasks, model and its specification of an experiment.

    Raises:
        UnsoundExperiment, ModelMismatch, ModelUnavailable: it cannot be carried out here.
    """
    experiment = Experiment.read(text)
    if fault := experiment.fault_of_package():
        raise UnsoundExperiment(fault)
    spec = spec_of(experiment)
    work = Tasks(experiment), spec.build(), spec
    # The Trainer collects garbage at the end of each training, and would look through all libraries for it: a
    # quarter of the time that a client with forty clips takes.
    gc.collect()
    gc.freeze()
    return work
