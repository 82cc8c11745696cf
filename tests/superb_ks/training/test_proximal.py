"""FedProx's term against autograd and against a walk that can be followed by hand."""

import numpy as np
import pytest
import torch

from superb_ks.training.proximal import ProximalTerm


def test_the_gradient_is_that_of_the_explicit_term():
    draw = torch.Generator().manual_seed(0)
    layer = torch.nn.Linear(5, 3)
    start = [p.detach().clone() for p in layer.parameters()]
    term = ProximalTerm(layer.parameters(), mu=0.7)
    x = torch.randn(4, 5, generator=draw)
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(torch.randn(p.shape, generator=draw))

    distance = sum(((p - s) ** 2).sum() for p, s in zip(layer.parameters(), start, strict=True))
    explicit = torch.autograd.grad(layer(x).square().mean() + 0.7 / 2 * distance, list(layer.parameters()))
    layer(x).square().mean().backward()
    term.add_gradient()
    for p, wanted in zip(layer.parameters(), explicit, strict=True):
        torch.testing.assert_close(p.grad, wanted)


def test_two_steps_of_sgd_by_hand():
    # Loss 2w, so a gradient of 2; mu 0.5, rate 0.1, from w = 1. The first step feels no pull:
    # 1 - 0.1·2 = 0.8. The second is pulled back by 0.5·(0.8 - 1) = -0.1: 0.8 - 0.1·(2 - 0.1) = 0.61.
    weight = torch.nn.Parameter(torch.tensor([1.0]))
    term, optimizer = ProximalTerm([weight], mu=0.5), torch.optim.SGD([weight], lr=0.1)
    walk = []
    for _ in range(2):
        optimizer.zero_grad()
        (2 * weight).sum().backward()
        term.add_gradient()
        optimizer.step()
        walk.append(weight.item())
    assert walk == pytest.approx([0.8, 0.61])


def test_frozen_and_untouched_weights_are_passed_over():
    frozen = torch.nn.Parameter(torch.ones(2), requires_grad=False)
    untouched = torch.nn.Parameter(torch.ones(2))
    ProximalTerm([frozen, untouched], mu=1.0).add_gradient()
    assert frozen.grad is None and untouched.grad is None
    assert np.array_equal(untouched.detach(), [1, 1])
