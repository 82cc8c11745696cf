"""The tiny model with what it is pretrained for: a phoneme for every frame, and a clip's pairs of them."""

from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import Wav2Vec2Config, Wav2Vec2Model

PAUSE_WEIGHT = 0.3  # of the phoneme loss: half of all frames are pauses, and easy


class PretrainingNetwork(nn.Module):
    """A Wav2Vec2 with two linear heads that are thrown away in the end.

    The phonemes are read from the last layer but one, frame by frame. The pairs are read from the mean of the
    last layer over time, as a keyword will be: what tells words apart becomes linear there.
    """

    def __init__(self, architecture: dict[str, Any], phonemes: int, pairs: int) -> None:
        """Draw the weights from PyTorch's generator.

        Args:
            architecture: arguments of `Wav2Vec2Config`.
            phonemes: classes of a frame; 0 is the pause.
            pairs: of phonemes that follow one another, counted as classes of a clip.

        """
        super().__init__()
        self.encoder = Wav2Vec2Model(Wav2Vec2Config(**architecture))
        # On a processor, PyTorch's fused attention is slow in its backward pass: a third of each step.
        self.encoder.set_attn_implementation("eager")
        hidden = self.encoder.config.hidden_size
        self.phoneme_head = nn.Linear(hidden, phonemes)
        self.pair_head = nn.Linear(hidden, pairs)

    def forward(self, waveforms: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return scores.

        Args:
            waveforms: normalised, shape [batch, n_samples].

        Returns:
            of phonemes, shape [batch, n_frames, n_phonemes], and of pairs, shape [batch, n_pairs].

        """
        states = self.encoder(waveforms, output_hidden_states=True).hidden_states
        return self.phoneme_head(states[-2]).float(), self.pair_head(states[-1].mean(1)).float()


def phoneme_loss(scores: torch.Tensor, phonemes: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the frames, pauses counted less.

    Args:
        scores: shape [batch, n_frames, n_phonemes].
        phonemes: ids, shape [batch, n_frames].

    """
    weight = torch.ones(scores.shape[-1])
    weight[0] = PAUSE_WEIGHT
    return cross_entropy(scores.flatten(0, 1), phonemes.flatten(), weight)


def pair_loss(scores: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
    """Cross-entropy against the even distribution over the pairs that a clip has.

    Args:
        scores: shape [batch, n_pairs].
        pairs: ids, shape [batch, most], filled up with -1; a clip without any does not count.

    """
    wanted = pairs >= 0
    shares = wanted / wanted.sum(1, keepdim=True).clamp(min=1)
    picked = scores.log_softmax(1).gather(1, pairs.clamp(min=0))
    return -(picked * shares).sum() / wanted.any(1).sum().clamp(min=1)


def share_right(scores: torch.Tensor, phonemes: torch.Tensor) -> float:
    """Return the share of voiced frames whose phoneme was found."""
    voiced = phonemes > 0
    return (scores.argmax(-1) == phonemes)[voiced].float().mean().item()
