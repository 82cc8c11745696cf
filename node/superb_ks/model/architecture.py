"""The architecture of the tiny model, in one place: what is pretrained is what is shipped and rebuilt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

CHECKPOINT = Path(__file__).resolve().parents[1] / "tiny"
"""The pretrained tiny model. Its folder is in the package, so every node has it."""

ARCHITECTURE: dict[str, Any] = dict(
    # Large early strides bring 16,000 samples down to 48 frames a second: most of the speed comes from here.
    # The first layer's output is the largest tensor of all, so it is narrow; the last is small and wide.
    conv_dim=(48, 64, 96, 128, 192),
    # 7, not 8: then every sample of the layer before is used. Where some are left over, oneDNN's gradient for
    # bfloat16 on AMX reads past the input, and now and then meets a NaN there: see `FiniteSteps` in
    # `superb_ks.training.trainer`.
    conv_kernel=(20, 7, 4, 4, 4),
    conv_stride=(10, 4, 2, 2, 2),
    # Layer norm in the feature encoder would be twice as slow.
    feat_extract_norm="group",
    do_stable_layer_norm=False,
    # As fast as 128 would be with wider convolutions.
    hidden_size=192,
    num_hidden_layers=4,
    num_attention_heads=4,
    intermediate_size=384,
    num_conv_pos_embeddings=16,
    num_conv_pos_embedding_groups=4,
    classifier_proj_size=128,
    # Initial weights on the scale of 1/sqrt(hidden_size) instead of 0.02, and no dropout or masking: what can
    # be learned in minutes decides, and drawing the dropout alone would take a sixth of each step.
    initializer_range=0.08,
    hidden_dropout=0.0,
    attention_dropout=0.0,
    activation_dropout=0.0,
    feat_proj_dropout=0.0,
    final_dropout=0.0,
    layerdrop=0.0,
    mask_time_prob=0.0,
    mask_feature_prob=0.0,
)
"""A tiny Wav2Vec2 that two processor cores can train: arguments of `transformers.Wav2Vec2Config`."""
