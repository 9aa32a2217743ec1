"""Base loss and terms in one pass: where the base loss's cotangent at the output is a multiple of that of the samples' own losses.

∂base/∂y = c · ∂Σs/∂y        (c = 1/N where the base loss is the mean of the s_n), found at the output, without a pass of the model
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from inputgrad.devices import Reading, length, numbers, wide
from inputgrad.engines.base import Linearization
from inputgrad.heads import Score
from inputgrad.memory import memory
from inputgrad.torch_internals.autograd_graph import leaves_of

_ROUNDINGS = 16
"""How many units in the last place two cotangents may differ by and still be the same."""


@dataclass(frozen=True)
class Multiple:
    """c, 0-d, and ∂Σs/∂y. unknow: forgets that this base loss is a multiple, so that the next step looks again."""

    c: Tensor
    cotangent: Tensor
    unknow: Callable[[], object]


@dataclass(frozen=True)
class SharedBaseLoss:
    """An input gradient whose engine takes c·Σs along as well, and the base loss, which is c·Σs."""

    linearization: Linearization
    multiple: Multiple
    base: Tensor

    def split(self, value: Tensor, cotangent: Tensor | None) -> "Split":
        """What the engine takes along of ``value``, whose cotangent at the output this is."""
        share = self._factor(value) * self.multiple.c
        taken = (wide(self.multiple.cotangent) * share).to(self.multiple.cotangent.dtype)  # a scaler's factor overflows float16
        left = -taken if cotangent is None else cotangent - taken
        return Split(Reading([share, length(left), length(taken)]), left, self.multiple.unknow)

    def _factor(self, value: Tensor) -> Tensor:
        """How often the base loss is in the value: once, or as often as a gradient scaler says. Once too where it is not there at all."""
        (factor,) = torch.autograd.grad(value, self.base, retain_graph=True, allow_unused=True, materialize_grads=True)
        factor = wide(factor.detach())  # torch 2.8's zeros of materialize_grads require a gradient
        return torch.where(factor == 0, 1.0, factor)


@dataclass(frozen=True)
class Split:
    """The cotangent at the output in two: a multiple of ∂Σs/∂y, and what is left."""

    reading: Reading
    left: Tensor
    unknow: Callable[[], object]

    def parts(self) -> tuple[float, Tensor | None]:
        """The multiple of Σs that the engine takes along, and what the cotangent holds beyond it; None for nothing. A device is waited for, unless read."""
        times, beyond, size = self.reading.numbers()
        if not beyond > _ROUNDINGS * torch.finfo(self.left.dtype).eps * size:
            return times, None
        self.unknow()
        return times, self.left


def as_multiple(model: nn.Module, value: Tensor, score: Score, output: Tensor, leaf: Tensor) -> Multiple | None:
    """c and ∂Σs/∂y for a base loss ``value`` of ``output``, which is ``leaf`` as losses see it; None where the one is no multiple of the other.

    None too where the samples' losses depend on anything but the output: a base loss with parameters of its own. Looked at in the first step with a
    model; should it be none later, `SharedBaseLoss.split` finds what is left.
    """
    scores = score(output)
    if not value.requires_grad or [id(leaf) for leaf in leaves_of([scores])] != [id(leaf)]:
        return None
    (own,) = torch.autograd.grad(scores.sum(), leaf)
    (whole,) = torch.autograd.grad(value, leaf, retain_graph=True, allow_unused=True, materialize_grads=True)
    whole, unit = whole.detach(), length(own)
    known, key = memory(model).measured, ("base loss is a multiple", score.head.identity())
    c = torch.where(unit > 0, (wide(whole) * (wide(own) / unit)).sum() / unit, 0)
    if key not in known:
        far, size, pull = numbers([length(wide(whole) - c * wide(own)), length(whole), unit])  # a device is waited for once
        if not (far <= _ROUNDINGS * torch.finfo(own.dtype).eps * size and pull > 0):
            return None
        known[key] = True
    return Multiple(c, own, lambda: known.pop(key, None))
