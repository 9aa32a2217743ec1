"""Smooth activations: SiLU, GELU (exact and tanh), each with its second derivative in as few passes over memory as torch's operations allow.

    ggy = u f'(x), torch's fused backward kernel        d/dx = u gy f''(x)

    SiLU       f'' = σ (1 − σ) (2 + x (1 − 2σ))
    GELU       f'' = φ(x) (2 − x²)                                          φ: the normal density
    GELU tanh  f'' = (1 − t²) (k (1 + 6 c x²) − x t i'²)                    t = tanh i, i = k (x + c x³), i' = k (1 + 3 c x²)

Softplus, tanh, sigmoid, mish, ELU and its kin are as fast in torch's own form and are left to it. Must not know of models, engines or terms.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from inputgrad.derivatives.substitution import BackwardTarget, Substitute
from inputgrad.derivatives.twice_differentiable import Operation, Tensors, Wanted, run

aten = torch.ops.aten


def _elementwise(
    value: Callable[[Tensor], Tensor], backward: Callable[[Tensor, Tensor], Tensor], times_curvature: Callable[[Tensor, Tensor], Tensor]
) -> Operation:
    """backward: (gy, x) -> gy f'(x). times_curvature: (t, x) -> t f''(x), in t's place."""

    def second(_settings: None, u: Tensors, gy: Tensor, tensors: Tensors, _kept: Tensors, wanted: Wanted) -> Tensors:
        x = tensors[0]
        return backward(u[0], x) if wanted[0] else None, times_curvature(u[0] * gy, x) if wanted[1] else None

    return Operation(
        inputs=1,
        torchs_own=lambda _, x: value(x),
        forward=lambda _, x: (value(x), ()),
        backward=lambda _, gy, tensors, _kept, _wanted: (backward(gy, tensors[0]),),
        second=second,
    )


def _silu_curvature(t: Tensor, x: Tensor) -> Tensor:
    s = torch.sigmoid(x)
    return aten.sigmoid_backward(t, s).mul_((x + 2).addcmul_(x, s, value=-2))


def _gelu_curvature(t: Tensor, x: Tensor) -> Tensor:
    square = x.square()
    density = (square * -0.5).sub_(0.5 * math.log(2 * math.pi)).exp_()
    return t.mul_(density).mul_(square.neg_().add_(2))


def _gelu_tanh_curvature(t: Tensor, x: Tensor) -> Tensor:
    k, c = math.sqrt(2 / math.pi), 0.044715
    square = x.square()
    tanh = (square * (k * c)).add_(k).mul_(x).tanh_()
    bracket = (square * (3 * k * c)).add_(k).square_().mul_(tanh).mul_(x).neg_().add_(square, alpha=6 * k * c).add_(k)
    return aten.tanh_backward(t, tanh).mul_(bracket)


SILU = _elementwise(aten.silu, aten.silu_backward, _silu_curvature)
GELU = _elementwise(aten.gelu, aten.gelu_backward, _gelu_curvature)
GELU_TANH = _elementwise(lambda x: aten.gelu(x, approximate="tanh"), lambda gy, x: aten.gelu_backward(gy, x, approximate="tanh"), _gelu_tanh_curvature)


def silu(phase: BackwardTarget, input: Tensor, inplace: bool = False) -> Any:
    """``torch.nn.functional.silu``."""
    return NotImplemented if inplace else run(SILU, phase, None, input)


def gelu(phase: BackwardTarget, input: Tensor, *, approximate: str = "none") -> Any:
    """``torch.nn.functional.gelu``."""
    operation = {"none": GELU, "tanh": GELU_TANH}.get(approximate)
    return NotImplemented if operation is None else run(operation, phase, None, input)


SUBSTITUTES: dict[Any, Substitute] = {F.silu: silu, F.gelu: gelu}
