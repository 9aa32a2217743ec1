"""Base loss and terms in one pass: where the base loss's cotangent at the output is a multiple of that of the samples' own losses.

∂base/∂y = c · ∂Σs/∂y        (c = 1/N where the base loss is the mean of the s_n), found at the output, without a pass of the model
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from inputgrad.devices import length, numbers, wide
from inputgrad.engines.base import Linearization
from inputgrad.heads import Score
from inputgrad.torch_internals.autograd_graph import leaves_of

_ROUNDINGS = 16
"""How many units in the last place two cotangents may differ by and still be the same."""


@dataclass(frozen=True)
class Multiple:
    """c, and ∂Σs/∂y."""

    c: float
    cotangent: Tensor


@dataclass(frozen=True)
class SharedBaseLoss:
    """An input gradient whose engine takes c·Σs along as well, and the base loss, which is c·Σs."""

    linearization: Linearization
    multiple: Multiple
    base: Tensor

    def split(self, value: Tensor, cotangent: Tensor | None) -> tuple[float, Tensor | None]:
        """The multiple of Σs that the engine takes along for ``value``, and what the cotangent at the output holds beyond it; None for nothing."""
        factor = self._factor(value)
        taken = (wide(self.multiple.cotangent) * (factor * self.multiple.c)).to(self.multiple.cotangent.dtype)  # a scaler's factor overflows float16
        left = -taken if cotangent is None else cotangent - taken
        times, beyond, size = numbers([factor, length(left), length(taken)])  # a device is waited for once
        return self.multiple.c * times, left if beyond > _ROUNDINGS * torch.finfo(taken.dtype).eps * size else None

    def _factor(self, value: Tensor) -> Tensor:
        """How often the base loss is in the value: once, or as often as a gradient scaler says. Once too where it is not there at all."""
        (factor,) = torch.autograd.grad(value, self.base, retain_graph=True, allow_unused=True, materialize_grads=True)
        factor = wide(factor.detach())  # torch 2.8's zeros of materialize_grads require a gradient
        return torch.where(factor == 0, 1.0, factor)


def as_multiple(value: Tensor, score: Score, output: Tensor, leaf: Tensor) -> Multiple | None:
    """c and ∂Σs/∂y for a base loss ``value`` of ``output``, which is ``leaf`` as losses see it; None where the one is no multiple of the other.

    None too where the samples' losses depend on anything but the output: a base loss with parameters of its own.
    """
    scores = score(output)
    if not value.requires_grad or [id(leaf) for leaf in leaves_of([scores])] != [id(leaf)]:
        return None
    (own,) = torch.autograd.grad(scores.sum(), leaf)
    (whole,) = torch.autograd.grad(value, leaf, retain_graph=True, allow_unused=True, materialize_grads=True)
    whole = whole.detach()
    unit = length(own)
    direction = wide(own) / unit  # NaN where there is none
    multiple = (wide(whole) * direction).sum() / unit
    c, far, size = numbers([multiple, length(wide(whole) - multiple * wide(own)), length(whole)])
    return Multiple(c, own) if far <= _ROUNDINGS * torch.finfo(own.dtype).eps * size else None
