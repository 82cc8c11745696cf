"""Three ways to fine-tune a pretrained model: what of it is trained, and therefore sent.

`Full` trains all but the convolutional feature encoder. `Lora` trains low-rank adapters on frozen weights
(Hu et al., 2021, https://arxiv.org/abs/2106.09685), and the head. `Head` trains only the head, by SUPERB's
protocol (Yang et al., 2021, https://arxiv.org/abs/2105.01051): a learned weighted sum of the hidden states of
all layers, a projector, the mean over time and a linear classifier.
"""

from __future__ import annotations

import copy
import warnings
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from superb_ks.tuning_settings import Full, Lora, Tuning

HEAD = ("layer_weights", "projector", "classifier")
"""The parts of a model for audio classification that are not its pretrained upstream."""

_ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")
_FEED_FORWARD = ("intermediate_dense", "output_dense")


def tune(model: Any, tuning: Tuning) -> PreTrainedModel:
    """Set `requires_grad` for a tuning, and put adapters into the model for `Lora`.

    The adapters' weights are drawn from PyTorch's global generator, which the caller seeds.

    Args:
        model: a Wav2Vec2, HuBERT or WavLM for audio classification, for `Head` with `use_weighted_layer_sum`.
        tuning: what of it is trained.

    Returns:
        The model, for `Lora` within a `peft.PeftModel`.
    """
    # Not only the weights: this also tells the encoder to ask for no gradient of its input in training.
    model.freeze_feature_encoder()
    if isinstance(tuning, Full):
        return model
    model.base_model.requires_grad_(False)
    return _with_adapters(model, tuning) if isinstance(tuning, Lora) else model


def is_head_tuned(model: nn.Module) -> bool:
    """Tell whether the head alone is trained, on a weighted sum of hidden states that never change."""
    config = getattr(model, "config", None)
    return (
        isinstance(model, PreTrainedModel)
        and bool(getattr(config, "use_weighted_layer_sum", False))
        and not any(parameter.requires_grad for parameter in model.base_model.parameters())
    )


def merged(model: PreTrainedModel) -> PreTrainedModel:
    """Return a model without adapters that computes the same, for saving and for use without `peft`.

    Args:
        model: as `ModelSpec.build` returns it, with any weights.

    Returns:
        For `Lora` a copy in which the adapters are added to the weights that they adapt; for the other
        tunings the model itself.
    """
    if not hasattr(model, "merge_and_unload"):
        return model
    adapted: Any = copy.deepcopy(model)
    plain: PreTrainedModel = adapted.merge_and_unload()
    return plain


def _with_adapters(model: Any, lora: Lora) -> PreTrainedModel:
    from peft import LoraConfig, get_peft_model  # takes a while, and the other tunings do without

    # WavLM hands the weights of its attention to a function of PyTorch, past any adapter.
    targets = _FEED_FORWARD if model.config.model_type == "wavlm" else _ATTENTION + _FEED_FORWARD
    scale: Any = lora.alpha  # peft's annotation says int; it divides by the rank
    config = LoraConfig(r=lora.rank, lora_alpha=scale, target_modules=list(targets), lora_dropout=0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # between peft and transformers, of no use to a reader
        adapted: Any = get_peft_model(model, config)
    # Not by `modules_to_save`: it keeps a frozen copy of each part, which all nodes would have to agree on.
    for name in HEAD:
        part = getattr(model, name, None)
        if part is not None:
            part.requires_grad_(True)
    return adapted
