"""A saved model as ONNX files that take a waveform, and the programs that run them."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import nn
from torch.onnx.errors import OnnxExporterError
from transformers import PreTrainedModel

from superb_ks.model.spec import SAMPLING_RATE
from superb_notebook.agreement import Recogniser

LARGEST_BYTES = 2**31 - 2**20
"""Of the weights: one ONNX file holds 2 GiB at most."""


class FromWaveform(nn.Module):
    """A model with its feature extraction before it and the softmax behind it.

    Args:
        model: for audio classification.
        normalised: whether the model is used to waveforms of zero mean and unit variance, as
            `Wav2Vec2FeatureExtractor` with `do_normalize` makes them.
    """

    def __init__(self, model: PreTrainedModel, normalised: bool) -> None:
        super().__init__()
        self.model = model
        self.normalised = normalised

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """Return probabilities [batch, n_classes] of waveforms [batch, n_samples], all equally long."""
        if self.normalised:
            variance, mean = torch.var_mean(waveform, dim=-1, correction=0, keepdim=True)
            waveform = (waveform - mean) / torch.sqrt(variance + 1e-7)
        return torch.softmax(self.model(waveform).logits, dim=-1)


def write_float32(classifier: Any, labels: Sequence[str], path: Path) -> None:
    """Write a model as one ONNX file; class names and sampling rate are in its metadata.

    Args:
        classifier: the model's pipeline.
        labels: class names in the order of the outputs.
        path: the file.

    Raises:
        ValueError: no ONNX file can hold this model.
    """
    model, extractor = classifier.model, classifier.feature_extractor
    size = sum(weight.nbytes for weight in model.parameters())
    if size > LARGEST_BYTES:
        raise ValueError(f"the model has {size / 1e9:.1f} GB of weights; legal in one ONNX file: 2 GB")
    network = FromWaveform(model, extractor.do_normalize).eval()
    try:
        with _quiet():
            torch.onnx.export(
                network,
                (torch.zeros(2, SAMPLING_RATE),),  # neither dimension is 1, which would be taken for fixed
                path,
                input_names=["waveform"],
                output_names=["probabilities"],
                dynamic_shapes={"waveform": {0: "batch", 1: "samples"}},
                external_data=False,
                verbose=False,
            )
    except OnnxExporterError as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"PyTorch cannot write a {type(model).__name__} as ONNX: {reason}") from error
    file = onnx.load(path)
    facts = {"labels": json.dumps(list(labels)), "sampling_rate": str(SAMPLING_RATE)}
    onnx.helper.set_model_props(file, facts)
    onnx.save(file, path)


def write_int8(float32: Path, path: Path) -> None:
    """Write an ONNX file again with the weights of its linear layers as 8-bit integers.

    Convolutions stay as they are: in integers they would change too many answers (docs/usage.md).
    The weights use 7 of the 8 bits, so that no sum overflows on processors without VNNI either.
    """
    with _quiet():
        quantize_dynamic(
            float32,
            path,
            op_types_to_quantize=["MatMul", "Gemm"],
            weight_type=QuantType.QInt8,
            reduce_range=True,
        )


def in_pytorch(classifier: Any) -> Recogniser:
    """Return a function that classifies with the model as it was saved."""

    def recognise(waveform: np.ndarray) -> np.ndarray:
        features = classifier.feature_extractor(waveform, sampling_rate=SAMPLING_RATE, return_tensors="pt")
        with torch.inference_mode():
            logits = classifier.model(**features).logits
        return torch.softmax(logits, dim=-1)[0].numpy()

    return recognise


def in_onnxruntime(path: Path) -> Recogniser:
    """Return a function that classifies with an ONNX file, on one thread of the processor.

    Raises:
        ValueError: onnxruntime cannot run the file.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # each kind of flaw raises another one of onnxruntime's own
        raise ValueError(f"onnxruntime cannot run {path.name}: {str(error).splitlines()[0]}") from error
    return lambda waveform: session.run(None, {"waveform": waveform[None]})[0][0]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep to themselves what PyTorch and onnxruntime advise their own developers to do."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
