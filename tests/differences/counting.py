"""A model that counts its passes, forward and backward, and the term that is taken of it."""

from typing import Any, ClassVar

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
    """Counts its passes where no replay puts the number back: what hangs on a module is the same in each pass of a step."""

    made: ClassVar[list[int]] = [0]

    @property
    def calls(self) -> int:
        return self.made[0]

    @calls.setter
    def calls(self, number: int) -> None:
        self.made[0] = number

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Parameter(torch.randn(FEATURES, 6) / 2), nn.Parameter(torch.randn(6, OUTPUTS) / 2)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        result: Tensor = torch.tanh(x @ Counted.apply(self.first)) @ Counted.apply(self.last)
        return result
