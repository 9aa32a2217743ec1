"""Elementwise functions in pieces: each element has the derivatives of its own piece, the same as torch's at a kink."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from inputgrad.operators.taylor.rules.derivatives import Tower


def _linear(value: Tensor, slope: Tensor, z: Tensor, n: int) -> Tower:
    """A function that is linear in each piece."""
    return value, [slope.to(z.dtype), None, None, None][:n]


def relu(z: Tensor, n: int) -> Tower:
    return _linear(torch.relu(z), z.detach() > 0, z, n)


def leaky_relu(z: Tensor, n: int, negative_slope: float = 0.01) -> Tower:
    return _linear(F.leaky_relu(z, negative_slope), torch.where(z.detach() > 0, z.new_ones(()), negative_slope), z, n)


def absolute(z: Tensor, n: int) -> Tower:
    return _linear(torch.abs(z), z.detach().sign(), z, n)


def clamp(z: Tensor, n: int, min: Any = None, max: Any = None) -> Tower:
    here = z.detach()
    inside = torch.ones_like(here, dtype=torch.bool)
    if min is not None:
        inside = inside & (here >= _constant(min))
    if max is not None:
        inside = inside & (here <= _constant(max))
    return _linear(torch.clamp(z, min, max), inside, z, n)


def clamp_min(z: Tensor, n: int, min: Any) -> Tower:
    return clamp(z, n, min=min)


def clamp_max(z: Tensor, n: int, max: Any) -> Tower:
    return clamp(z, n, max=max)


def _constant(bound: Any) -> Any:
    return bound.detach() if isinstance(bound, Tensor) else bound


def hardtanh(z: Tensor, n: int, min_val: float = -1.0, max_val: float = 1.0) -> Tower:
    here = z.detach()
    return _linear(F.hardtanh(z, min_val, max_val), (here > min_val) & (here < max_val), z, n)


def relu6(z: Tensor, n: int) -> Tower:
    return hardtanh(z, n, 0.0, 6.0)


def threshold(z: Tensor, n: int, threshold: float, value: float) -> Tower:
    return _linear(F.threshold(z, threshold, value), z.detach() > threshold, z, n)


def hardshrink(z: Tensor, n: int, lambd: float = 0.5) -> Tower:
    return _linear(F.hardshrink(z, lambd), z.detach().abs() > lambd, z, n)


def softshrink(z: Tensor, n: int, lambd: float = 0.5) -> Tower:
    return _linear(F.softshrink(z, lambd), z.detach().abs() > lambd, z, n)


def hardsigmoid(z: Tensor, n: int) -> Tower:
    return _linear(F.hardsigmoid(z), (z.detach().abs() < 3).to(z.dtype) / 6, z, n)


def hardswish(z: Tensor, n: int) -> Tower:
    here = z.detach()
    inside = here.abs() < 3
    slope = torch.where(inside, z / 3 + 0.5, (here >= 3).to(z.dtype))
    return F.hardswish(z), [slope, inside.to(z.dtype) / 3, None, None][:n]


def elu(z: Tensor, n: int, alpha: float = 1.0) -> Tower:
    return _exponential_below(F.elu(z, alpha), z, n, 1.0, alpha, 1.0)


def celu(z: Tensor, n: int, alpha: float = 1.0) -> Tower:
    return _exponential_below(F.celu(z, alpha), z, n, 1.0, alpha, 1 / alpha)


def selu(z: Tensor, n: int) -> Tower:
    scale, alpha = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717
    return _exponential_below(F.selu(z), z, n, scale, scale * alpha, 1.0)


def _exponential_below(value: Tensor, z: Tensor, n: int, slope: float, factor: float, rate: float) -> Tower:
    """``slope · z`` above 0 and ``factor · (exp(rate · z) − 1)`` below."""
    above = z.detach() > 0
    e = torch.exp(torch.where(above, 0.0, z) * rate) * factor
    return value, [torch.where(above, slope if order == 1 else 0.0, e * rate**order) for order in range(1, n + 1)]
