"""Loads pretrained models, and says in one line what is wrong with the files of one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import transformers
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
LFS_POINTER = b"version https://git-lfs"


class ModelUnavailable(RuntimeError):
    """This node can neither find nor download the model that the specification names."""


@contextmanager
def explained(name: str) -> Iterator[None]:
    """Load quietly, and turn whatever the libraries raise about a model's files into one line.

    Args:
        name: a folder, or a model id of the Hugging Face hub.

    Raises:
        ModelUnavailable: the model cannot be loaded.
    """
    verbosity, bar = transformers.logging.get_verbosity(), transformers.logging.is_progress_bar_enabled()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        if Path(name).is_dir():
            require_files(Path(name))
        yield
    except ModelUnavailable:
        raise
    except Exception as error:  # a damaged file makes each library raise something else
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        advice = "Name a local folder that holds it, run once with a network on every node"
        if Path(name).is_dir():
            advice = "Copy the folder again"
        raise ModelUnavailable(
            f"cannot load the model {name!r} on this node ({reason}). {advice}, or choose MODEL=tiny, which "
            "every node has."
        ) from error
    finally:
        transformers.logging.set_verbosity(verbosity)
        if bar:
            transformers.logging.enable_progress_bar()


def require_files(folder: Path) -> None:
    """Check that a folder has a model's files, and that none of them is a stand-in.

    Raises:
        ModelUnavailable: a file is missing, empty, no JSON, or the pointer that git leaves without Git LFS.
    """
    config = folder / "config.json"
    if not config.is_file():
        raise ModelUnavailable(f"cannot load the model: {folder} has no config.json")
    weights = [path for name in WEIGHTS for path in folder.glob(f"{Path(name).stem}*{Path(name).suffix}")]
    if not weights:
        raise ModelUnavailable(f"cannot load the model: {folder} has no weights ({' or '.join(WEIGHTS)})")
    for path in (config, *weights):
        with path.open("rb") as file:
            start = file.read(len(LFS_POINTER))
        if start == LFS_POINTER:
            raise ModelUnavailable(
                f"cannot load the model: {path} is a Git LFS pointer; `git lfs pull` there fetches the file"
            )
        if not start:
            raise ModelUnavailable(f"cannot load the model: {path} is empty")
    try:
        settings = json.loads(config.read_bytes())
    except ValueError as error:
        raise ModelUnavailable(f"cannot load the model: {config} is not JSON ({error})") from error
    if not isinstance(settings, dict):
        raise ModelUnavailable(f"cannot load the model: {config} is not a JSON object")


def load_classifier(folder: Path) -> transformers.AudioClassificationPipeline:
    """Return the plain transformers pipeline of a folder that a run saved.

    Raises:
        ModelUnavailable: it holds no model, or one that does not name words.
    """
    if not folder.is_dir():
        raise ModelUnavailable(f"cannot load the model: {folder} is not a folder")
    with explained(str(folder)):
        extractor = AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=False)
        model, loading = AutoModelForAudioClassification.from_pretrained(
            folder, dtype=torch.float32, output_loading_info=True, trust_remote_code=False
        )
    new = sorted(loading["missing_keys"])
    if new:
        raise ModelUnavailable(
            f"{folder} holds no trained classifier: {new[0]} is missing; legal: the folder of a model "
            "that a run saved"
        )
    names = [str(name) for name in (model.config.id2label or {}).values()]
    if all(re.fullmatch(r"LABEL_\d+", name) for name in names):
        raise ModelUnavailable(f"{folder} does not say what its classes are called (id2label in config.json)")
    return transformers.pipeline(
        "audio-classification", model=model, feature_extractor=extractor, device="cpu"
    )
