"""A model that counts its passes, forward and backward, and the term that is taken of it."""

from typing import Any

import torch
from torch import Tensor, nn

import inputgrad as ig
from tests.zoo import FEATURES, OUTPUTS

OWN_LOSS = ig.GradientNorm(of="loss", power=2)


class Counted(torch.autograd.Function):
    """A parameter, which counts how often a gradient is made of it."""

    made = 0

    @staticmethod
    def forward(ctx: Any, w: Tensor) -> Tensor:
        return w.view_as(w)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        Counted.made += 1
        return grads[0]


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Parameter(torch.randn(FEATURES, 6) / 2), nn.Parameter(torch.randn(6, OUTPUTS) / 2)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        result: Tensor = torch.tanh(x @ Counted.apply(self.first)) @ Counted.apply(self.last)
        return result
