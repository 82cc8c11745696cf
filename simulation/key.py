"""Names a simulation by what decides its records: the same name, the same figures, but for rounding."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from demo.errors import DemoError
from simulation.engine import ROOT
from simulation.options import Options
from superb_node import audio, labels
from superb_node.envoy.config import EnvoyConfig

# What clients and server run, below the project's folder; the digest of `superb_ks` is in the experiment.
_CODE = ("flower/superb_flower/**/*.py", "envoy/*.py", "envoy/speech_commands/**/*.py")
_LIBRARIES = ("flwr", "torch", "transformers")
_LISTS = "*_list.txt"


def key_of(options: Options, text: bytes, root: Path = ROOT) -> str:
    """Return the name of a simulation.

    Args:
        options: its clients and their clips.
        text: of the experiment.
        root: the project's folder.

    Raises:
        ConfigError: the envoys' config, in which the clients' shard descriptor stands, is not legal.
        DemoError: a folder of clips cannot be read.
    """
    total = hashlib.sha256(text)
    config = envoys_config(root)
    asked = [options.clients, options.run_config, config.descriptor, config.descriptor_params]
    asked += [version(name) for name in _LIBRARIES]
    total.update(json.dumps(asked, default=str).encode())
    code = [file for pattern in _CODE for file in sorted(root.glob(pattern))]
    for file in (*code, Path(audio.__file__), Path(labels.__file__)):
        total.update(file.read_bytes())
    for folder in (options.data_dir, options.test_dir):
        if isinstance(folder, Path):  # not the word testing_list
            _add_archive(total, folder)
    return total.hexdigest()[:16]


def envoys_config(root: Path = ROOT) -> EnvoyConfig:
    """Return the config of the envoy's folder, whose shard descriptor the clients have.

    Raises:
        ConfigError: it is not legal.
    """
    return EnvoyConfig.load(root / "envoy" / "envoy_config.yaml")


def _add_archive(total: hashlib._Hash, folder: Path) -> None:
    """Add an archive's clips, by their names and sizes, and the lists that divide them."""
    try:
        total.update(json.dumps(sorted(_clips(folder))).encode())
        for file in sorted(folder.glob(_LISTS)):
            total.update(file.read_bytes())
    except OSError as error:
        raise DemoError(f"{error.filename} cannot be read: {error.strerror}") from error


def _clips(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield path and size of each clip; of a hundred thousand in half a second."""
    with os.scandir(folder) as words:
        for word in filter(os.DirEntry.is_dir, words):
            with os.scandir(word) as clips:
                for clip in clips:
                    if not labels.is_litter(clip.name):
                        yield f"{word.name}/{clip.name}", clip.stat().st_size
