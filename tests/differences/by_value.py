"""The judge that knows no engine: differences of a criterion's own value in the parameters, in float64."""

from typing import Any

import torch
from torch import Tensor, nn

import inputgrad as ig

FIRST_AND_SECOND = 1e-6
"""What such a difference of a value may be off by, relative, where the value is smooth: the third derivative, and rounding."""


def off_from_value(model: nn.Module, x: Any, target: Any = None, *, engine: Any = "auto", term: Any = None, step: float = 1e-6) -> float:
    """|D − ⟨∇, u⟩| / |D| for a random u, with D the central difference of the value of ``term`` (the squared norm of the input gradient) along u.

    Dropout must be off, or the draws of both would differ.
    """
    criterion = ig.InputGradientLoss(None, [term or ig.GradientNorm(power=2)], engine=engine)
    model.zero_grad()
    criterion(model, x, target).backward()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    directions = [torch.randn(parameter.shape, dtype=parameter.dtype, generator=torch.Generator().manual_seed(5)) for parameter in parameters]
    gradient = sum(float((p.grad * u).sum()) for p, u in zip(parameters, directions, strict=True) if p.grad is not None)
    difference = (_value(model, parameters, directions, step, x, target, term) - _value(model, parameters, directions, -step, x, target, term)) / (2 * step)
    return abs(difference - gradient) / abs(difference)


def _value(model: nn.Module, parameters: list[Tensor], directions: list[Tensor], step: float, x: Any, target: Any, term: Any) -> float:
    """The term's value at moved parameters, by one that trains nothing: so no engine is asked."""
    kept = [parameter.detach().clone() for parameter in parameters]
    criterion = ig.InputGradientLoss(None, [term or ig.GradientNorm(power=2)], engine="double_backward")
    try:
        with torch.no_grad():
            for parameter, direction in zip(parameters, directions, strict=True):
                parameter.add_(direction, alpha=step)
            return float(criterion.evaluate(model, x, target).loss)
    finally:
        with torch.no_grad():
            for parameter, value in zip(parameters, kept, strict=True):
                parameter.copy_(value)
