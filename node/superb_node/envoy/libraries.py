"""The heavy libraries of an envoy: loaded once, while it waits for its first experiment."""

from __future__ import annotations

import importlib
import logging
import os

from superb_node.envoy.threads import fair_threads

logger = logging.getLogger("envoy")

PRELOADED = (
    "torch",
    "transformers.trainer",
    "transformers.models.wav2vec2.feature_extraction_wav2vec2",
    "transformers.models.wav2vec2.modeling_wav2vec2",
    # What `superb_ks.experiment.own_package` vouches for, before somebody updates it.
    "superb_ks.collaborator.collaborator",
    "superb_ks.training.evaluation",
    "superb_ks.training.local",
)


def preload() -> None:
    """Import the heavy libraries, and no more: a CUDA device that is used before a fork is lost after it.

    OpenFL imports torch by itself, but nobody imports the Trainer of transformers before the first
    experiment, which would wait for it: 3 seconds of processor time, more on a loaded machine.
    """
    for module_name in PRELOADED:
        importlib.import_module(module_name)


def take_threads(director_host: str, director_port: str) -> None:
    """Take this envoy's share of the cores, as things are now."""
    if not os.environ.get("OMP_NUM_THREADS"):  # else the owner has decided
        import torch

        threads = fair_threads(director_host, director_port)
        torch.set_num_threads(threads)
        logger.info("Threads: %d", threads)
