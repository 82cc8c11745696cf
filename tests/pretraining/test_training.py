"""Losses by hand, the schedule, and that a seed means something."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from pretraining.corpus import SpokenCorpus
from pretraining.network import PAUSE_WEIGHT, pair_loss, phoneme_loss, share_right
from pretraining.training import Plan, build, pretrain, rate_factor, shuffled

SHORT = replace(Plan(), steps=3, batch_size=4)


def test_pauses_count_less() -> None:
    scores = torch.zeros(1, 2, 4)
    scores[0, 0, 0] = 2.0  # a pause, found; the other frame is undecided among four
    pause = math.log(math.exp(2.0) + 3) - 2.0
    wanted = (PAUSE_WEIGHT * pause + math.log(4)) / (PAUSE_WEIGHT + 1)
    assert phoneme_loss(scores, torch.tensor([[0, 3]])).item() == pytest.approx(wanted, rel=1e-6)


def test_pairs_share_one_clip_evenly() -> None:
    scores = torch.log(torch.tensor([[0.5, 0.25, 0.125, 0.125], [0.7, 0.1, 0.1, 0.1]]))
    pairs = torch.tensor([[0, 1, -1], [-1, -1, -1]])  # the second has none
    wanted = -(math.log(0.5) + math.log(0.25)) / 2
    assert pair_loss(scores, pairs).item() == pytest.approx(wanted, rel=1e-6)


def test_only_voiced_frames_are_right_or_wrong() -> None:
    scores = torch.eye(3)[torch.tensor([[0, 1, 1, 2]])]
    assert share_right(scores, torch.tensor([[0, 1, 2, 2]])) == pytest.approx(2 / 3)


def test_the_rate_rises_and_falls() -> None:
    assert rate_factor(0.0, 0.1) < 0.02
    assert rate_factor(0.1, 0.1) == pytest.approx(0.5 * (1 + math.cos(0.1 * math.pi)))
    assert rate_factor(1.0, 0.1) == pytest.approx(0.0, abs=1e-9)


def test_every_clip_comes_once_before_any_comes_again() -> None:
    batches = shuffled(clips=10, batch_size=5, seed=0)
    first = torch.cat([next(batches), next(batches)])
    again = torch.cat([next(batches), next(batches)])
    assert sorted(first.tolist()) == sorted(again.tolist()) == list(range(10))
    assert first.tolist() != again.tolist()


@pytest.mark.slow
def test_the_same_seed_trains_the_same_weights(corpus: SpokenCorpus) -> None:
    first, curve = pretrain(corpus, SHORT)
    again, curve_again = pretrain(corpus, SHORT)
    assert curve == curve_again
    assert curve[-1].step == 3
    state = again.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in first.state_dict().items())
    other = build(corpus, replace(SHORT, seed=1)).encoder
    assert not torch.equal(
        other.feature_projection.projection.weight, first.feature_projection.projection.weight
    )
