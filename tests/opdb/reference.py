"""The reference: differences of a value in the parameters, in random directions. It needs no derivative of what is judged beyond the value's own.

[V(θ + hu) − V(θ − hu)] / 2h  against  ⟨∇V, u⟩.  There is no reference where the value is no number, where no two steps h agree, and where θ itself lies
on a kink or a jump: there V(θ) is not near the mean of V(θ ± hu).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import inputgrad as ig
from tests.opdb.wrapped import one_or_all

DIRECTIONS = 3
STEPS = ((1e-4, 3e-5), (1e-5, 3e-6), (1e-6, 3e-7))
"""Pairs of steps; the first pair that agrees is taken."""
AGREEMENT = 1e-5
"""How far two steps may differ, relative to the largest difference over all directions."""
COARSE_STEPS = ((3e-3, 1e-3), (1e-3, 3e-4), (1e-2, 3e-3))
COARSE = 1e-3
"""The steps for a model that computes in single precision inside, whose value is a staircase to the finer ones, and how far two of them may differ."""
NO_NUMBER, NO_AGREEMENT = "the value is no number", "no two steps agree, or a kink"
FEATURES = 16
"""Up to so many input features the Laplacian is exact, and its value plain torch's own; beyond, it is estimated by two probes."""
BEND, BEND_OF_COARSE = 1e-2, 0.3
"""How large |V(θ + hu) + V(θ − hu) − 2V(θ)| / h may be, relative to the largest difference: 2 at a kink."""

Value = Callable[[], float]


@dataclass(frozen=True)
class Reference:
    """The derivative of the value along each direction."""

    value: float
    directions: tuple[tuple[Tensor, ...], ...]
    slopes: tuple[float, ...]
    agreement: float = AGREEMENT
    """How far two steps were allowed to differ."""

    @property
    def scale(self) -> float:
        return max(map(abs, self.slopes))

    def misfit(self, gradient: Sequence[Tensor | None]) -> float:
        """How far a gradient is from the reference, relative to the largest slope; absolute where the value does not change at all."""
        found = [sum(float((part * u).sum()) for part, u in zip(gradient, direction, strict=True) if part is not None) for direction in self.directions]
        off = max(abs(one - slope) for one, slope in zip(found, self.slopes, strict=True))
        return math.inf if math.isnan(sum(found)) else off / (self.scale or 1.0)


def reference(parameters: Sequence[Tensor], value: Value, *, coarse: bool = False) -> Reference | str:
    """The reference, or why there is none. coarse: one of three digits will do."""
    here = value()
    if not math.isfinite(here):
        return NO_NUMBER
    directions = tuple(tuple(_direction(part) for part in parameters) for _ in range(DIRECTIONS))
    fine = [(steps, AGREEMENT, BEND) for steps in STEPS]
    for steps, agreement, bent in [*fine[:1], *((steps, COARSE, BEND_OF_COARSE) for steps in COARSE_STEPS)] if coarse else fine:
        wide, narrow = ([_slope(parameters, value, direction, here, h) for direction in directions] for h in steps)
        slopes = [slope for slope, _ in narrow]
        scale = max(map(abs, slopes))
        agree = all(abs(one - other) <= agreement * scale for (one, _), other in zip(wide, slopes, strict=True))
        if agree and all(bend <= bent * scale for _, bend in narrow):
            return Reference(here, directions, tuple(slopes), agreement)
    return NO_NUMBER if math.isnan(sum(slopes)) else NO_AGREEMENT


def _slope(parameters: Sequence[Tensor], value: Value, direction: Sequence[Tensor], here: float, h: float) -> tuple[float, float]:
    """The slope of the value along a direction, and how much it bends at θ itself."""
    with moved(parameters, direction, h):
        ahead = value()
    with moved(parameters, direction, -h):
        behind = value()
    return (ahead - behind) / (2 * h), abs(ahead + behind - 2 * here) / h


@contextmanager
def moved(parameters: Sequence[Tensor], direction: Sequence[Tensor], h: float) -> Iterator[None]:
    kept = [part.detach().clone() for part in parameters]
    with torch.no_grad():
        for part, u in zip(parameters, direction, strict=True):
            part.add_(u, alpha=h)
    try:
        yield
    finally:
        with torch.no_grad():
            for part, before in zip(parameters, kept, strict=True):
                part.copy_(before)


def _direction(part: Tensor) -> Tensor:
    """Random, of the size of the parameter that it moves."""
    size = part.detach().square().mean().sqrt()
    return torch.randn_like(part) * torch.where(size > 0, size, 1)


def penalty(model: nn.Module, inputs: Sequence[Tensor]) -> float:
    """‖∂s/∂x‖² by plain torch, for a model whose batch is one sample."""
    torch.default_generator.manual_seed(1)
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    gradients = torch.autograd.grad(model(*leaves).sum(), leaves, allow_unused=True)
    return sum(float(part.detach().square().sum()) for part in gradients if part is not None)


def laplacian_value(model: nn.Module, inputs: Sequence[Tensor]) -> float:
    """(Δs)², by plain torch where the Laplacian is exact."""
    if sum(x.numel() for x in inputs) > FEATURES:
        return own_laplacian_value(model, inputs)
    torch.default_generator.manual_seed(1)
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    gradients = torch.autograd.grad(model(*leaves).sum(), leaves, create_graph=True, materialize_grads=True, allow_unused=True)
    total = 0.0
    for leaf, gradient in zip(leaves, gradients, strict=True):
        for n, entry in enumerate(gradient.flatten()):
            second = torch.autograd.grad(entry, leaf, retain_graph=True, allow_unused=True)[0] if entry.requires_grad else None
            total += 0.0 if second is None else float(second.flatten()[n])
    return total**2


def own_laplacian_value(model: nn.Module, inputs: Sequence[Tensor]) -> float:
    """The same by the library."""
    return float(squared_laplacian(model, *one_or_all(inputs)).detach())


def laplacian_by_differences(model: nn.Module, inputs: Sequence[Tensor]) -> float | None:
    """The same by differences of plain torch's first derivatives, where the Laplacian is exact; good to some 1e-8."""
    if sum(x.numel() for x in inputs) > FEATURES:
        return None

    def first(moved: int, n: int, h: float) -> float:
        torch.default_generator.manual_seed(1)
        leaves = [x.detach().clone(memory_format=torch.contiguous_format) for x in inputs]
        leaves[moved].flatten()[n] += h
        (gradient,) = torch.autograd.grad(model(*[x.requires_grad_() for x in leaves]).sum(), leaves[moved])
        return float(gradient.flatten()[n])

    def slope(moved: int, n: int, h: float) -> float:
        return (first(moved, n, h) - first(moved, n, -h)) / (2 * h)

    places = [(moved, n) for moved, x in enumerate(inputs) for n in range(x.numel())]
    return sum((4 * slope(*place, 1e-3) - slope(*place, 2e-3)) / 3 for place in places) ** 2


def squared_laplacian(model: nn.Module, inputs: Any, wrt: Any) -> Tensor:
    """(Δs)² by the library, with its graph."""
    features = sum(x.numel() for x in (inputs if isinstance(inputs, tuple) else (inputs,)))
    torch.default_generator.manual_seed(1)
    return ig.laplacian(model, inputs, wrt, probes=2 if features > FEATURES else None).square().mean()
