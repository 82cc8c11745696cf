"""A model by its specification: a few words that every node turns into the same network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    PreTrainedConfig,
    PreTrainedModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
)

from superb_ks.checked import from_name
from superb_ks.model.architecture import ARCHITECTURE, CHECKPOINT
from superb_ks.model.fingerprint import digest
from superb_ks.model.folder import ModelUnavailable, explained
from superb_ks.model.tuning import tune
from superb_ks.recipe import SCRATCH, TINY, is_hub_id, legal_tunings
from superb_ks.settings import TUNINGS, Full, Head, Settings, Tuning

SAMPLING_RATE = 16_000
"""Samples per second that all models of the family expect."""

SHORTEST = SAMPLING_RATE // 16
"""Samples that a model is given at least: one frame takes the tiny model 920, a published Wav2Vec2 400."""


def lengthened(waveform: np.ndarray) -> np.ndarray:
    """Return a waveform, shape [n_samples], with zeros behind it if it is too short for a model."""
    return np.pad(waveform, (0, max(0, SHORTEST - len(waveform))))


class ModelMismatch(RuntimeError):
    """This node rebuilds a model that differs from the one the specification was sealed with."""


@dataclass(frozen=True)
class ModelSpec:
    """What a node needs to rebuild a model.

    Attributes:
        name: "tiny" (the pretrained tiny model), "scratch" (the same from random weights), a model id of the
            Hugging Face hub, or a folder; a folder is kept as an absolute path, because the other nodes
            work elsewhere.
        labels: class names, in the order of the model's outputs.
        seed: draws all weights of "scratch", and what is new on a pretrained model: the classification
            head and the adapters.
        tuning: what of it is trained (see `superb_ks.model.tuning`).
        digest: fingerprint of the model that every node must arrive at (see `model.fingerprint`), or
            None.

    Raises:
        ValueError: the name looks like a folder and there is none, labels repeat, or the model cannot be
            tuned that way.
    """

    name: str
    labels: tuple[str, ...]
    seed: int = 0
    tuning: Tuning = Full()
    digest: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(self.labels))
        if len(set(self.labels)) != len(self.labels) or len(self.labels) < 2:
            raise ValueError(f"labels are {self.labels}; legal: at least two different names")
        folder = Path(self.name).expanduser()
        if self.name not in (TINY, SCRATCH) and folder.is_dir():
            object.__setattr__(self, "name", str(folder.resolve()))
        elif self.name not in (TINY, SCRATCH) and not is_hub_id(self.name):
            raise ValueError(
                f"model is {self.name!r}, no folder here; legal: 'tiny', 'scratch', a hub id such as "
                "'facebook/wav2vec2-base', a folder"
            )
        legal = legal_tunings(self.name)
        if not isinstance(self.tuning, tuple(legal.values())):
            names = " or ".join(f"{kind.__name__}(...)" for kind in legal.values())
            raise ValueError(f"tuning is {self.tuning!r}; legal: {names} with model {self.name!r}")

    @classmethod
    def of(cls, settings: Settings, labels: Sequence[str]) -> ModelSpec:
        """Return the specification of an experiment's model.

        Args:
            settings: the experiment's; name, seed, and how the model is tuned are taken from them.
            labels: class names, in the order of the model's outputs.
        """
        return cls(settings.model, tuple(labels), settings.seed, settings.tuning)

    def to_dict(self) -> dict[str, Any]:
        """Return the specification as JSON knows it."""
        own = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**own, "labels": list(self.labels), "tuning": self.tuning.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelSpec:
        """Read what `to_dict` returned.

        Raises:
            ValueError: a field is missing, unknown or illegal.
        """
        if set(values) != set(cls.__dataclass_fields__):
            raise ValueError(f"a model's specification has {', '.join(cls.__dataclass_fields__)}, no others")
        tuning = from_name(TUNINGS, values["tuning"], "tuning")
        return cls(**{**values, "labels": tuple(values["labels"]), "tuning": tuning})

    def build(self) -> PreTrainedModel:
        """Build the model: float32, on the CPU, the same on every node, without touching global seeds.

        Returns:
            A model for audio classification, in evaluation mode as `from_pretrained` leaves it, whose
            trainable parameters are those with `requires_grad`.

        Raises:
            ModelUnavailable: its files are neither here nor within reach.
            ModelMismatch: the specification is sealed and this node arrives at something else.
        """
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.seed)  # torch.manual_seed would reseed GPUs as well
            if self.name == SCRATCH:
                model = _build_scratch(self.labels)
            else:
                model = _load(self._source(), self.labels, weighted_sum=isinstance(self.tuning, Head))
                model = tune(model, self.tuning)
        if self.digest is not None:
            self._check(digest(model))
        return model.eval()

    def feature_extractor(self) -> Wav2Vec2FeatureExtractor:
        """Return what turns a 16 kHz waveform into the model's input.

        Raises:
            ModelUnavailable: its files are neither here nor within reach.
        """
        if self.name == SCRATCH:
            return Wav2Vec2FeatureExtractor(
                sampling_rate=SAMPLING_RATE, do_normalize=True, return_attention_mask=False
            )
        source = self._source()
        with explained(source):
            return AutoFeatureExtractor.from_pretrained(source, trust_remote_code=False)

    def sealed(self) -> ModelSpec:
        """Return a copy that carries the digest of the model as this node builds it."""
        return replace(self, digest=digest(replace(self, digest=None).build()))

    def _source(self) -> str:
        """Return what `from_pretrained` takes."""
        if self.name != TINY:
            return self.name
        if not (CHECKPOINT / "model.safetensors").is_file():
            raise ModelUnavailable(
                f"the pretrained tiny model is not at {CHECKPOINT}: it belongs to the package superb_ks; "
                "install that again, or choose MODEL=scratch, which needs no files"
            )
        return str(CHECKPOINT)

    def _check(self, found: str) -> None:
        if found == self.digest:
            return
        parts = ("frozen weights", "trainable layers")
        sums = zip(parts, str(self.digest).split("."), found.split("."), strict=True)
        differing = [
            f"{part} differ (expected {expected[:8]}, found {here[:8]})"
            for part, expected, here in sums
            if expected != here
        ]
        raise ModelMismatch(
            f"this node's copy of {self.name!r} is not the experiment's: {'; '.join(differing)}. "
            "Give every node the same files and library versions (delete an outdated folder or cache)."
        )


def _build_scratch(labels: tuple[str, ...]) -> PreTrainedModel:
    """Build the tiny model from random weights: there is no feature encoder worth keeping, all is trained.

    That also leaves no frozen random numbers that two kinds of processor might draw differently.
    """
    return Wav2Vec2ForSequenceClassification(Wav2Vec2Config(**ARCHITECTURE, **_label_maps(labels)))


def _load(name: str, labels: tuple[str, ...], weighted_sum: bool) -> PreTrainedModel:
    """Load a pretrained model of the Wav2Vec2 family, with a new head unless it already knows our classes."""
    changes = {**_label_maps(labels), **({"use_weighted_layer_sum": True} if weighted_sum else {})}
    with explained(name):
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
        model, loading = AutoModelForAudioClassification.from_pretrained(
            name,
            **changes,
            ignore_mismatched_sizes=True,
            dtype=torch.float32,
            output_loading_info=True,
            trust_remote_code=False,  # code of a model's folder is in no digest that an owner approved
        )
    if "layer_weights" in loading["missing_keys"]:
        # from_pretrained leaves this one parameter as it finds the memory; the model's own start is even.
        nn.init.constant_(model.layer_weights, 1 / len(model.layer_weights))
    if any(key.endswith("feature_extractor.conv_layers.0.conv.weight") for key in loading["missing_keys"]):
        raise ModelUnavailable(f"cannot load the model {name!r}: its weights are those of another model")
    if not hasattr(model, "freeze_feature_encoder"):
        kind = type(model).__name__
        raise ModelUnavailable(f"{name!r} is a {kind}; legal: the Wav2Vec2 family, on raw waveforms")
    _reorder_head(model, config, labels)
    return model


def _label_maps(labels: tuple[str, ...]) -> dict[str, Any]:
    """Return the two label tables of a model's configuration; its number of classes follows from them."""
    return {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}


def _reorder_head(model: PreTrainedModel, config: PreTrainedConfig, labels: tuple[str, ...]) -> None:
    """Put a head that knows our classes in another order into ours: s3prl swaps the last two of SUPERB."""
    theirs = [str(label) for _, label in sorted((config.id2label or {}).items())]
    if theirs == list(labels) or set(theirs) != set(labels):
        return
    order = [theirs.index(label) for label in labels]
    head = model.get_submodule("classifier")
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(parameter[order])
