"""Base loss and terms in one pass: where the base loss's cotangent at the output is a multiple of that of the samples' own losses.

∂base/∂y = c · ∂Σs/∂y        (c = 1/N where the base loss is the mean of the s_n), found at the output, without a pass of the model
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from inputgrad.engines.base import Cotangents, Joint, Linearization
from inputgrad.heads import Score
from inputgrad.torch_internals.autograd_graph import leaves_of

_ROUNDINGS = 16
"""How many units in the last place two cotangents may differ by and still be the same."""


Roots = list[tuple[Tensor, Tensor | None]]
"""Where a backward pass starts, each with its cotangent; None for the 0-d ones, which start from 1."""


Gradients = list[tuple[Linearization, Cotangents]]
"""Input gradients, each with the cotangent of a value at it."""


@dataclass(frozen=True)
class Multiple:
    """c, and ∂Σs/∂y."""

    c: float
    cotangent: Tensor


@dataclass(frozen=True)
class PendingCotangents:
    """What a value owes to the parameters: a cotangent at the output, one at each input gradient, and what is paid for both together."""

    outputs: list[tuple[Tensor, Tensor]]
    gradients: Gradients
    joined: Callable[[], Joint] | None = None

    def passes(self) -> Iterator[Roots]:
        """What goes back besides the pass at the place itself, one pass of the model at a time; what is known goes with the first share."""
        for found, v in self.gradients:
            for share in found.elsewhere(v) if found.elsewhere else ():
                yield [(share, None)]
        if self.joined:
            joint = self.joined()
            known: Roots = [*joint.known]
            for share in joint.shares:
                yield [*known, (share, None)]
                known = []
            if known:
                yield known


@dataclass(frozen=True)
class SharedBaseLoss:
    """An input gradient whose engine takes over c·Σs as well, and the base loss, which is c·Σs."""

    found: Linearization
    multiple: Multiple
    base: Tensor

    def taken(self, value: Tensor, gradients: Gradients, cotangent: Tensor | None) -> tuple[Callable[[], Joint] | None, Gradients, Tensor | None]:
        """⟨v, g⟩ + c·Σs, paid together, where the value depends on this input gradient; and what is left to be paid otherwise."""
        v = next((v for found, v in gradients if found is self.found), None)
        if v is None:
            return None, gradients, cotangent
        c = self.multiple.c * self._factor(value)
        return lambda: self._given(v, c), [(found, u) for found, u in gradients if found is not self.found], self._rest(cotangent, c)

    def _factor(self, value: Tensor) -> float:
        """How often the base loss is in the value: once, or as often as a gradient scaler says. Once too where it is not there at all."""
        (factor,) = torch.autograd.grad(value, self.base, retain_graph=True, allow_unused=True, materialize_grads=True)
        return float(factor) or 1.0

    def _rest(self, cotangent: Tensor | None, c: float) -> Tensor | None:
        """What the cotangent at the output holds beyond c·∂Σs/∂y; None where that is nothing."""
        taken = c * self.multiple.cotangent
        left = -taken if cotangent is None else cotangent - taken
        return left if left.norm() > _ROUNDINGS * torch.finfo(taken.dtype).eps * taken.norm() else None

    def _given(self, v: Cotangents, c: float) -> Joint:
        assert self.found.joined is not None
        return self.found.joined(v, c)


def as_multiple(value: Tensor, score: Score, output: Tensor) -> Multiple | None:
    """c and ∂Σs/∂y for a base loss ``value`` of the leaf ``output``; None where the one is no multiple of the other.

    None too where the samples' losses depend on anything but the output: a base loss with parameters of its own.
    """
    scores = score(output)
    if not value.requires_grad or [id(leaf) for leaf in leaves_of([scores])] != [id(output)]:
        return None
    (own,) = torch.autograd.grad(scores.sum(), output)
    (whole,) = torch.autograd.grad(value, output, retain_graph=True, allow_unused=True, materialize_grads=True)
    size = float(own.double().square().sum())
    if size == 0:
        return None
    found = Multiple(float((whole.double() * own.double()).sum()) / size, own)
    off = float((whole.double() - found.c * own.double()).norm())
    return found if off <= _ROUNDINGS * torch.finfo(own.dtype).eps * float(whole.double().norm()) else None
