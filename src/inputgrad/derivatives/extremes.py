"""Elementwise functions where torch has a first derivative and makes NaN of the second: far apart, or at zero.

    logaddexp(a, b), |a − b| so large that exp overflows (88 in float32, −∞ of a mask):  m + log(e^(a − m) + e^(b − m)), m the larger one
    mish(x), x > 40:                                                                     x, as it is to the last digit
    pow(0, y), y > 1 a variable:                                                         no derivative in y
    atan2(0, 0), copysign(0, y):                                                         no derivative, as torch's first one

Everywhere else value and derivatives are torch's own. Must not know of models, engines or terms.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from inputgrad.derivatives.substitution import BackwardTarget, Substitute
from inputgrad.derivatives.twice_differentiable import differentiated, may_hold

Binary = Callable[[Tensor, Tensor], Tensor]


def _log_of_sum(torchs: Binary, exp: Callable[[Tensor], Tensor], log: Callable[[Tensor], Tensor]) -> Substitute:
    def log_of_sum(_phase: BackwardTarget, input: Tensor, other: Tensor, *, out: Any = None) -> Any:
        if out is not None or not _real(input, other):
            return NotImplemented
        with torch.no_grad():
            larger = torch.maximum(input, other)
            far = ((input - other).abs() > math.log(torch.finfo(larger.dtype).max) / 2) & larger.isfinite()
        if not may_hold(far):
            return NotImplemented
        apart = torch.where(far, larger, 0)
        a, b = (torch.where(far, x, 0) - apart for x in (input, other))
        near = torchs(*(torch.where(far, 0, x) for x in (input, other)))
        return torch.where(far, log(exp(a) + exp(b)) + apart, near)

    return log_of_sum


def mish(_phase: BackwardTarget, input: Tensor, inplace: bool = False) -> Any:
    """``torch.nn.functional.mish``."""
    if inplace or not _real(input):
        return NotImplemented
    large = input.detach() > _LARGE
    return torch.where(large, input, F.mish(torch.where(large, 0, input))) if may_hold(large) else NotImplemented


def _power(torchs: Binary) -> Substitute:
    """``torch.pow`` and ``**``, where the exponent is a variable."""

    def power(_phase: BackwardTarget, input: Any, exponent: Any, *, out: Any = None) -> Any:
        if out is not None or not _real(exponent) or not _real_number(input):
            return NotImplemented
        return _constant_where(lambda x, y: (x == 0) & (y > 1), torchs, _number(input, exponent), exponent, also=True)

    return power


def _number(value: Any, like: Tensor) -> Tensor:
    """A number as a tensor on the device of another, filled in there."""
    return value if isinstance(value, Tensor) else torch.full((), value, device=like.device)


def power_of(phase: BackwardTarget, exponent: Any, input: Any) -> Any:
    """``Tensor.__rpow__``: the base comes second."""
    return _power(torch.pow)(phase, input, exponent)


def atan2(_phase: BackwardTarget, input: Tensor, other: Tensor, *, out: Any = None) -> Any:
    """``torch.atan2``."""
    if out is not None or not _real(input, other):
        return NotImplemented
    return _constant_where(lambda y, x: (y == 0) & (x == 0), torch.atan2, input, other)


def copysign(_phase: BackwardTarget, input: Tensor, other: Any, *, out: Any = None) -> Any:
    """``torch.copysign``."""
    if out is not None or not _real(input):
        return NotImplemented
    return _constant_where(lambda x, _: x == 0, torch.copysign, input, _number(other, input).to(input.dtype))


def _constant_where(holds: Binary, torchs: Binary, first: Tensor, second: Tensor, *, also: bool = False) -> Any:
    """``torchs``, whose derivatives are zero wherever the condition holds. also: those in the first argument are torch's own there."""
    with torch.no_grad():
        here = holds(first, second)
    if not may_hold(here):
        return NotImplemented
    there = torchs(first if also else first.detach(), second.detach())
    return torch.where(here, there, torchs(torch.where(here, 1, first), torch.where(here, 1, second)))


def _real(*tensors: Any) -> bool:
    """Whether they are tensors of real numbers of which a graph is made."""
    return all(isinstance(x, Tensor) and not x.is_complex() for x in tensors) and differentiated(*tensors)


def _real_number(value: Any) -> bool:
    return isinstance(value, (int, float)) or (isinstance(value, Tensor) and not value.is_complex())


_LARGE = 40.0
"""From here on e^−x is below the last digit of float64."""

SUBSTITUTES: dict[Any, Substitute] = {
    **dict.fromkeys((torch.logaddexp, Tensor.logaddexp), _log_of_sum(torch.logaddexp, torch.exp, torch.log)),
    **dict.fromkeys((torch.logaddexp2, Tensor.logaddexp2), _log_of_sum(torch.logaddexp2, torch.exp2, torch.log2)),
    F.mish: mish,
    **dict.fromkeys((torch.pow, Tensor.pow, Tensor.__pow__), _power(torch.pow)),
    **dict.fromkeys((torch.float_power, Tensor.float_power), _power(torch.float_power)),
    Tensor.__rpow__: power_of,
    **dict.fromkeys((torch.atan2, Tensor.atan2, torch.arctan2, Tensor.arctan2), atan2),
    **dict.fromkeys((torch.copysign, Tensor.copysign), copysign),
}
