"""The heavy libraries of an envoy: loaded while it waits for its first experiment."""

from __future__ import annotations

import importlib
import logging
import os
import threading

from superb_node.envoy.threads import fair_threads

logger = logging.getLogger("envoy")

PRELOADED = ("torch", "transformers.trainer", "transformers.models.wav2vec2.modeling_wav2vec2")


def preload() -> threading.Thread:
    """Import the heavy libraries in the background; returns the thread, which ends when they are there.

    OpenFL imports torch by itself, but nobody imports the Trainer of transformers before the first
    experiment, which would wait for it: 3 seconds of processor time, more on a loaded machine.
    """

    def load() -> None:
        for module_name in PRELOADED:
            importlib.import_module(module_name)

    thread = threading.Thread(target=load, name="preload", daemon=True)
    thread.start()
    return thread


def before_experiment(libraries: threading.Thread, director_host: str, director_port: str) -> None:
    """Wait until the libraries are loaded, and take this envoy's share of the cores, as things are now."""
    libraries.join()
    if not os.environ.get("OMP_NUM_THREADS"):  # else the owner has decided
        import torch

        threads = fair_threads(director_host, director_port)
        torch.set_num_threads(threads)
        logger.info("Threads: %d", threads)
