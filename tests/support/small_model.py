"""A model of a few weights, for what can be checked by hand."""

import torch
from torch import nn


def small_model() -> nn.Module:
    """Make a frozen layer between two trained ones: 2·3 + 2 = 8 and 2·4 = 8 trained values, 0 to 15."""
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 4), nn.Linear(4, 2, bias=False))
    model[1].requires_grad_(False)
    with torch.no_grad():
        model[0].weight.copy_(torch.arange(6.0).view(2, 3))
        model[0].bias.copy_(torch.tensor([6.0, 7.0]))
        model[2].weight.copy_(torch.arange(8.0, 16.0).view(2, 4))
    return model
