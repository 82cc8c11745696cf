"""The folder that ships: weights in half precision, configuration, extractor and card; all or none."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2Model

from pretraining import ROOT

FOLDER = ROOT / "node" / "superb_ks" / "tiny"
WEIGHTS = "model.safetensors"
CARD = "README.md"
FILES = frozenset({WEIGHTS, CARD, "config.json", "preprocessor_config.json"})
"""All that a published folder has."""


def write_model(model: Wav2Vec2Model, folder: Path) -> str:
    """Write all files but the card into an empty folder.

    The weights are kept in float16, which halves what every node installs; the configuration asks for
    float32, so that `from_pretrained` computes in it.

    Returns:
        the SHA-256 sum of the file of weights.

    """
    model.config.architectures = ["Wav2Vec2Model"]
    model.config.dtype = torch.float32
    model.config.save_pretrained(folder)
    tensors = {name: tensor.detach().half().contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / WEIGHTS).chmod(0o644)  # safetensors leaves it to its owner alone
    extractor = Wav2Vec2FeatureExtractor(sampling_rate=16_000, do_normalize=True, return_attention_mask=False)
    extractor.save_pretrained(folder)
    return sha256(folder / WEIGHTS)


def sha256(path: Path) -> str:
    """Return a file's SHA-256 sum in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def can_publish(folder: Path) -> bool:
    """Tell whether a model may be put at an absolute path: in place of an older one, or where nothing is.

    Tries to write next to it, since permissions alone do not tell: the file system may be read-only.
    """
    try:
        if os.path.lexists(folder) and {path.name for path in folder.iterdir()} != FILES:
            return False
        nearest = next(parent for parent in folder.parents if os.path.lexists(parent))
        tempfile.TemporaryDirectory(dir=nearest).cleanup()
    except OSError:
        return False
    return True


class Publication:
    """A folder that appears under its name when the block ends well, and in place of an older one.

    What is written goes to `partial`, next to it. If the block raises, the older folder is what it was.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.partial = folder.with_name(f".{folder.name}.partial-{os.getpid()}")

    def __enter__(self) -> Path:
        """Return the empty folder to write to."""
        shutil.rmtree(self.partial, ignore_errors=True)
        self.partial.mkdir(parents=True)
        return self.partial

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Put it in place, or take it away."""
        if kind is not None:
            shutil.rmtree(self.partial, ignore_errors=True)
            return
        old = self.folder.with_name(f".{self.folder.name}.old-{os.getpid()}")
        if self.folder.exists():
            self.folder.rename(old)
        try:
            self.partial.rename(self.folder)
        except OSError:
            if old.exists():
                old.rename(self.folder)
            raise
        shutil.rmtree(old, ignore_errors=True)
